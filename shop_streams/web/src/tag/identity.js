/** Who is here: the party (a browser) and its session, each in a cookie of the shop. */

const PARTY = "_dvp";
const SESSION = "_dvs";
const PARTY_SECONDS = 2 * 365 * 24 * 60 * 60; // browsers may allow less; each event renews it
const SESSION_SECONDS = 30 * 60;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789~_";
const VALID = /^0:[0-9a-z]{1,12}:[!-9;-~]{1,99}$/; // the collector drops events with any other

/** 32 random characters, 192 bits. */
function random() {
  const bytes = new Uint8Array(32);
  try {
    crypto.getRandomValues(bytes);
  } catch {
    bytes.forEach((_, at) => (bytes[at] = Math.random() * 256));
  }
  return Array.from(bytes, (byte) => ALPHABET[byte & 63]).join("");
}

export const newPageViewId = () => `0:${random()}`;
const newId = (now) => `0:${now.toString(36)}:${random()}`;

function readCookie(name) {
  try {
    const values = document.cookie.split(/;\s*/).filter((one) => one.startsWith(`${name}=`));
    return values.map((one) => one.slice(name.length + 1)).find((one) => VALID.test(one));
  } catch {
    return undefined; // a sandboxed page may not read cookies
  }
}

function writeCookie(name, value, seconds, domain) {
  const secure = location.protocol === "https:" ? "; secure" : "";
  const cookie = `${name}=${value}; path=/; max-age=${seconds}; samesite=lax${secure}`;
  try {
    document.cookie = domain ? `${cookie}; domain=${domain}` : cookie;
    // The browser refuses a domain that is not the page's own, an IP address, or a public suffix.
    if (domain && readCookie(name) !== value) document.cookie = cookie;
  } catch {
    // The ids live as long as the page.
  }
}

/**
 * The ids of this page's events. Cookies are read before each event: another tab may have begun or renewed the session.
 * Where cookies are blocked, the ids live as long as the page.
 */
export class Identity {
  constructor(domain) {
    const now = Date.now();
    this.domain = domain;
    this.lastEvent = undefined; // of this page, epoch milliseconds
    this.party = readCookie(PARTY);
    this.session = readCookie(SESSION);
    this.stored = Boolean(this.session); // once the cookie is gone, it has expired
    this.newParty = !this.party;
    this.firstInSession = !this.session;
    this.party = this.party || newId(now);
    this.session = this.session || newId(now);
  }

  /** Bring the ids up to the present. After it, `newParty` and `firstInSession` are true for the first event alone. */
  refresh(now) {
    const party = readCookie(PARTY);
    if (party && party !== this.party) {
      this.party = party;
      this.newParty = false;
    }
    const session = readCookie(SESSION);
    if (session) {
      if (session !== this.session) this.firstInSession = false;
      this.session = session;
      this.stored = true;
    } else if (this.lastEvent === undefined ? this.stored : now - this.lastEvent > SESSION_SECONDS * 1000) {
      this.session = newId(now);
      this.firstInSession = true;
    }
  }

  /** An event was made: the session goes on for half an hour from now. */
  used(now) {
    this.lastEvent = now;
    this.newParty = false;
    this.firstInSession = false;
    writeCookie(PARTY, this.party, PARTY_SECONDS, this.domain);
    writeCookie(SESSION, this.session, SESSION_SECONDS, this.domain);
  }
}
