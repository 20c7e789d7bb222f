"""Generated from radiology.proto by `make proto`; nothing here is written by hand."""
