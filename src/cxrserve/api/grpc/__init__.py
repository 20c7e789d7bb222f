"""The gRPC server: the Open Inference Protocol, our own typed service, health, reflection."""
