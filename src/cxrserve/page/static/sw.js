// Keeps the page, its runtime and its networks for when there is no net; never a film, never an answer.

const KEPT = "cxrserve-page";
const scope = new URL("./", self.location);
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "same-origin" };

self.addEventListener("install", (event) => {
  event.waitUntil(keepPage().then(() => self.skipWaiting()));
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  const ours = address.origin === scope.origin && address.pathname.startsWith(scope.pathname);
  if (event.request.method !== "GET" || !ours) return;
  event.respondWith(address.pathname.includes("/models/") ? keptFirst(event.request) : newestFirst(event.request));
});

async function keepPage() {
  const cache = await caches.open(KEPT);
  const about = await (await fetch("about.json")).json();
  const files = about.files.filter((name) => !name.startsWith("vendor/") && name !== "sw.js");
  await cache.addAll(["./", "about.json", ...files]);
}

// A network's address holds its digest: it never changes.
async function keptFirst(request) {
  const cache = await caches.open(KEPT);
  return isolated((await cache.match(request)) ?? (await fetchedAndKept(cache, request)));
}

async function newestFirst(request) {
  const cache = await caches.open(KEPT);
  try {
    return isolated(await fetchedAndKept(cache, request));
  } catch {
    const kept = await cache.match(request, { ignoreSearch: true });
    return kept ? isolated(kept) : Response.error();
  }
}

async function fetchedAndKept(cache, request) {
  const reply = await fetch(request);
  if (reply.ok) await cache.put(request, reply.clone());
  return reply;
}

// A plain folder is served without headers; WebAssembly gets its threads all the same.
function isolated(reply) {
  if (reply.type === "opaque" || reply.type === "error" || reply.redirected) return reply;
  const headers = new Headers(reply.headers);
  for (const [name, value] of Object.entries(ISOLATED)) headers.set(name, value);
  return new Response(reply.body, { status: reply.status, statusText: reply.statusText, headers });
}
