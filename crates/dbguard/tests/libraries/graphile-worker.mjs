import { EventEmitter } from 'node:events';
import { counts, errors, failure, handle, library, load, serve, stop, url } from './common.mjs';

const { Logger, makeWorkerUtils, run, runMigrations } = await library('graphile-worker');
const options = { connectionString: url, logger: new Logger(() => () => {}) };
const utils = await makeWorkerUtils(options);
let runner;

async function start(more = {}) {
  const events = new EventEmitter();
  for (const event of ['pool:gracefulShutdown:error', 'worker:getJob:error', 'worker:fatalError', 'pool:release:error',
    'resetLocked:failure']) {
    events.on(event, ({ error }) => failure(error ?? new Error(event)));
  }
  const once = new Promise(resolve => events.once('resetLocked:success', () => resolve({ rescued: true })));
  runner = await run({ ...options, events, concurrency: 4, pollInterval: 200, noHandleSignals: true, ...more,
    taskList: { work: async payload => handle(payload.number) } });
  return once;
}

await serve({
  migrate: () => runMigrations(options),
  async load() {
    void start();
    return load(number => utils.addJob('work', { number }, number % 2 ? { queueName: `q${number % 3}` } : {}));
  },
  counts: () => ({ ...counts, errors }),
  async hurry() {
    // A failed attempt waits for seconds; the test does not.
    await utils.withPgClient(client => client.query(
      'UPDATE graphile_worker._private_jobs SET run_at = now() WHERE run_at > now() AND locked_at IS NULL'));
  },
  stop,
  // The library's own rescue runs when a pool starts.
  async rescue() {
    const rescued = await start({ minResetLockedInterval: 10, maxResetLockedInterval: 20, taskList: {} });
    await runner.stop();
    return rescued;
  },
  unlock: (...workers) => utils.forceUnlockWorkers(workers),
});
