// Threads need SharedArrayBuffer, and that needs two headers, which a service worker adds to a server that does not.
// Where there is no service worker, the page computes in one thread.

/** Resolves when the page is as it can be; loads it again, once, behind a fresh service worker. */
export async function isolate() {
  if (globalThis.crossOriginIsolated || !navigator.serviceWorker || !globalThis.isSecureContext) return;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    if (sessionStorage.getItem("isolated")) return; // it did not help
    sessionStorage.setItem("isolated", "tried");
    location.reload();
    await new Promise(() => {});
  } catch (error) {
    console.warn("no service worker, so one thread", error);
  }
}
