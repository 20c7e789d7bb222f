"""What a browser is told beside the page's files: load nothing from elsewhere, run nothing inline.

`'wasm-unsafe-eval'` lets WebAssembly be compiled, and nothing else (CSP Level 3, section 8.4).
The opener and embedder policies isolate the page, which is what gives WebAssembly its threads.
"""

from __future__ import annotations

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'wasm-unsafe-eval'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "worker-src": "'self'",
    "manifest-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}

HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "X-Content-Type-Options": "nosniff",
}
# Checked at every visit, sent again only where the digest differs.
REVALIDATED = "no-cache"
# Its address holds its digest.
FOR_EVER = "public, max-age=31536000, immutable"
