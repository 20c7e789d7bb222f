"""The checks over HTTP; importing a module writes its checks into `HTTP`, in this order."""

# isort: off
from cxrserve.conformance.http_server import HTTP
from cxrserve.conformance.over_http import health as health
from cxrserve.conformance.over_http import metadata as metadata
from cxrserve.conformance.over_http import versions as versions
from cxrserve.conformance.over_http import inference as inference
from cxrserve.conformance.over_http import binary as binary
from cxrserve.conformance.over_http import byte_strings as byte_strings
from cxrserve.conformance.over_http import compression as compression
from cxrserve.conformance.over_http import outputs as outputs
from cxrserve.conformance.over_http import parameters as parameters
from cxrserve.conformance.over_http import errors as errors
from cxrserve.conformance.over_http import binary_errors as binary_errors
from cxrserve.conformance.over_http import repository as repository
from cxrserve.conformance.over_http import statistics as statistics
from cxrserve.conformance.over_http import settings as settings
from cxrserve.conformance.over_http import shared_memory as shared_memory
from cxrserve.conformance.over_http import afterwards as afterwards

CHECKS = HTTP
