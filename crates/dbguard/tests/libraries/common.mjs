// A job library under load, told what to do line by line on standard input; each answer is one line of JSON.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.env.QUEUE_MODULES + '/');
export const library = name => import(pathToFileURL(require.resolve(name)).href);
export const url = process.env.QUEUE_URL;
export const errors = [];
export const failure = error => { errors.push(`${error.code ?? ''} ${error.message}`); };

/** What came of the load so far. */
export const counts = { sent: 0, done: 0, failed: 0 };

let sending;

/** Sends jobs until `stop`, and waits until each is done. */
export const load = send => {
  let busy = Promise.resolve();
  sending = setInterval(() => {
    busy = busy.then(async () => {
      // As fast as it is worked off, however busy the machine is.
      if (counts.sent - counts.done > 40) return;
      await send(counts.sent);
      counts.sent += 1;
    }).catch(failure);
  }, 5);
  return { sending: true };
};
export const stop = async () => {
  clearInterval(sending);
  await new Promise(resolve => setTimeout(resolve, 50));
  for (let tries = 0; counts.done < counts.sent && tries < 200; tries += 1) {
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  return { ...counts, errors };
};

/** The first attempt of every tenth job fails, as jobs do. */
const tried = new Set();
export const handle = number => {
  if (number % 10 === 9 && !tried.has(number)) {
    tried.add(number);
    counts.failed += 1;
    throw new Error('not this time');
  }
  counts.done += 1;
};

export async function serve(verbs) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [verb, ...words] = line.split(' ');
    try {
      console.log(JSON.stringify((await verbs[verb](...words)) ?? {}));
    } catch (error) {
      console.log(JSON.stringify({ error: `${error.code ?? ''} ${error.message}` }));
    }
  }
  process.exit(0);
}
