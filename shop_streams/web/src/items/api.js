// The API's answers.

const PATIENCE_MS = 20000;

/** Why there are no numbers, in words for the reader. */
export class NoAnswer extends Error {}

async function contents(path) {
  let answer;
  try {
    answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS), headers: { accept: "application/json" } });
  } catch (error) {
    throw new NoAnswer("The API does not answer.");
  }
  if (answer.status === 503) throw new NoAnswer("The database does not answer.");
  if (!answer.ok) throw new NoAnswer(`The API answered ${answer.status}.`);
  try {
    return (await answer.json()).contents;
  } catch (error) {
    throw new NoAnswer("The API's answer broke off.");
  }
}

/** Views and orders of all shops in half hours that ended at `since` (epoch seconds) or later. */
export function numbers(since) {
  return Promise.all([contents(`/api/v1.0/users/${since}`), contents(`/api/v1.0/orders/${since}`)]);
}
