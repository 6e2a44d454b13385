/** The tag divolte.js: page views by itself, and what the page hands to `divolte.signal`. It never throws into the page. */

import { send, whenCommitted } from "./delivery.js";
import { Identity, newPageViewId } from "./identity.js";
import { mincode, shortQuery } from "./wire.js";

const MAX_QUERY = 6800; // the collector takes addresses of 7,000 characters

/** This script's element; `currentScript` is null in a module or behind a loader. */
function scriptElement() {
  return document.currentScript || document.querySelector('script[src*="divolte.js"]');
}

/** The query string's value of the parameters; undefined for what can't be encoded: the event goes on without. */
function parametersOf(value) {
  try {
    return mincode(value);
  } catch {
    return undefined;
  }
}

/** The page view id that the server gave this page, behind the script's `#`. */
function serverPageView(source) {
  const id = source.includes("#") ? source.slice(source.indexOf("#") + 1) : "";
  return id.includes("/") ? "" : id;
}

function install(script) {
  const source = (script && script.src) || "";
  const endpoint = source && new URL("csc-event", source.replace(/[?#].*$/s, "")).href;
  const identity = new Identity(script && script.getAttribute("data-cookie-domain"));
  const given = serverPageView(source);
  let pageViewId = given || newPageViewId();
  let events = 0;

  const divolte = { isServerPageView: Boolean(given), signal, whenCommitted };
  publish();

  function publish() {
    divolte.partyId = identity.party;
    divolte.sessionId = identity.session;
    divolte.pageViewId = pageViewId;
    divolte.isNewPartyId = identity.newParty;
    divolte.isFirstInSession = identity.firstInSession;
  }

  /** Send an event; returns its id, or undefined without a type. */
  function signal(type, parameters) {
    if (!type) return undefined;
    const eventId = pageViewId + (events++).toString(16);
    try {
      const now = Date.now();
      const session = identity.session;
      identity.refresh(now);
      // What the page reads describes the page view, so it stays true after the first event.
      if (events === 1 || session !== identity.session) publish();
      const fields = {
        p: identity.party,
        s: identity.session,
        v: pageViewId,
        e: eventId,
        c: now,
        n: identity.newParty ? "t" : "f",
        f: identity.firstInSession ? "t" : "f",
        l: location.href,
        r: document.referrer || undefined,
        i: screen.availWidth,
        j: screen.availHeight,
        k: devicePixelRatio,
        w: innerWidth,
        h: innerHeight,
        t: String(type),
        u: parametersOf(parameters),
      };
      identity.used(now);
      if (endpoint) send(`${endpoint}?${shortQuery(fields, MAX_QUERY)}`);
    } catch {
      // The page goes on; this event is lost.
    }
    return eventId;
  }

  /** A page that opens in the background, or before it is asked for, is viewed when it is first visible. */
  function viewWhenVisible() {
    if (document.visibilityState !== "hidden") {
      signal("pageView");
      return;
    }
    const seen = () => {
      if (document.visibilityState === "hidden") return;
      document.removeEventListener("visibilitychange", seen);
      signal("pageView");
    };
    document.addEventListener("visibilitychange", seen);
  }

  /** The browser kept the page and shows it again: a view like that of a page that is loaded again, with an id of its own. */
  function viewAgain(event) {
    if (!event.persisted) return;
    pageViewId = newPageViewId();
    events = 0;
    divolte.isServerPageView = false;
    publish();
    viewWhenVisible();
  }

  window.divolte = divolte;
  // RequireJS marks what it loads itself; an anonymous `define` in any other script is an error to it.
  if (script && script.hasAttribute("data-requiremodule") && typeof define === "function") define(() => divolte);
  window.addEventListener("pageshow", viewAgain);
  viewWhenVisible();
}

try {
  // A second copy would count twice.
  if (!(window.divolte && typeof window.divolte.signal === "function")) install(scriptElement());
} catch {
  // The page goes on without the tag.
}
