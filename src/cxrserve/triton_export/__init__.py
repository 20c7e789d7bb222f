"""Model packages as a Triton model repository: `cxrserve export triton DIR`."""
