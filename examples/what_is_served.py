"""Asks the gRPC server what it serves, by reflection, as `grpcurl HOST list` does."""

from __future__ import annotations

import os

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def main() -> None:
    """Print each service with its methods."""
    with grpc.insecure_channel(os.environ.get("CXRSERVE_GRPC", "localhost:3001")) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        for name in database.get_services():
            print(name)
            for method in pool.FindServiceByName(name).methods:
                print(f"  {method.name}({method.input_type.full_name})")


if __name__ == "__main__":
    main()
