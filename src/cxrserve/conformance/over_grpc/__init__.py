"""The checks over gRPC; importing a module writes its checks into `GRPC`, in this order."""

# isort: off
from cxrserve.conformance.grpc_server import GRPC
from cxrserve.conformance.over_grpc import health as health
from cxrserve.conformance.over_grpc import metadata as metadata
from cxrserve.conformance.over_grpc import inference as inference
from cxrserve.conformance.over_grpc import outputs as outputs
from cxrserve.conformance.over_grpc import parameters as parameters
from cxrserve.conformance.over_grpc import errors as errors
from cxrserve.conformance.over_grpc import streaming as streaming
from cxrserve.conformance.over_grpc import repository as repository
from cxrserve.conformance.over_grpc import statistics as statistics
from cxrserve.conformance.over_grpc import settings as settings
from cxrserve.conformance.over_grpc import reflection as reflection
from cxrserve.conformance.over_grpc import deadlines as deadlines
from cxrserve.conformance.over_grpc import afterwards as afterwards

CHECKS = GRPC
