/** Events on their way: each by fetch, which outlives the page, or by an image where fetch can't go. */

const COMMIT_MILLISECONDS = 5000;
let pending = 0;
let callbacks = [];

function settled() {
  pending -= 1;
  if (pending > 0) return;
  const ready = callbacks;
  callbacks = [];
  ready.forEach((callback) => callback());
}

function sendImage(address) {
  const image = new Image(1, 1);
  image.onload = image.onerror = settled;
  image.src = address;
}

/** Send at once, not in a queue: what waits is lost when the page is left. */
export function send(address) {
  pending += 1;
  try {
    // Without keepalive (old Firefox) a fetch ends with the page, as an image does; an image needs no connect-src.
    if (!("keepalive" in Request.prototype)) throw new TypeError("no keepalive");
    const options = { keepalive: true, mode: "no-cors", credentials: "omit", cache: "no-store" };
    // A Content-Security-Policy without connect-src for the collector rejects it before anything is sent.
    fetch(address, options).then(settled, () => sendImage(address));
  } catch {
    sendImage(address);
  }
}

/** Call `callback` once: when every event is acknowledged or failed, or after `milliseconds`. */
export function whenCommitted(callback, milliseconds) {
  if (typeof callback !== "function") return;
  let called = false;
  const once = () => {
    if (called) return;
    called = true;
    setTimeout(callback, 0); // an error of the callback is the page's own
  };
  if (pending === 0) {
    once();
    return;
  }
  callbacks.push(once);
  setTimeout(once, milliseconds >= 0 ? milliseconds : COMMIT_MILLISECONDS);
}
