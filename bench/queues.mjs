// graphile-worker and pg-boss with the same small tasks as ../peers: node queues.mjs NAME TASK URL JOBS CALLERS.
// The settings are guesses from their documentation until somebody who knows them better tunes them.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.env.QUEUE_MODULES + '/');
const library = name => import(pathToFileURL(require.resolve(name)).href);
const [name, task, url, jobsText, callersText] = process.argv.slice(2);
const [jobs, callers] = [Number(jobsText), Number(callersText)];

let done = 0;
const waited = [];
const now = () => Number(process.hrtime.bigint() / 1000n);
const handled = sent => {
  if (sent > 0) waited.push((now() - sent) / 1e3);
  done += 1;
};
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
const untilHandled = async () => {
  for (const begun = now(); done < jobs; await sleep(2)) {
    if (now() - begun > 120e6) throw new Error(`${done} of ${jobs} jobs after two minutes`);
  }
};

async function graphile() {
  const { Logger, makeWorkerUtils, run } = await library('graphile-worker');
  const pg = await library('pg');
  const pgPool = new pg.default.Pool({ connectionString: url, max: 20 });
  pgPool.on('error', () => {}).on('connect', client => client.on('error', () => {}));
  const options = { pgPool, logger: new Logger(() => () => {}) };
  const utils = await makeWorkerUtils(options);
  await utils.migrate();
  const start = () => run({ ...options, concurrency: 24, pollInterval: 50, noHandleSignals: true,
    preset: { worker: { concurrentJobs: 24, pollInterval: 50,
      ...(task === 'drain' && { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }) } },
    taskList: { task: async payload => handled(payload.sent) } });
  return {
    start,
    single: sent => utils.addJob('task', { sent }),
    job: () => ({ identifier: 'task', payload: { sent: 0 } }),
    bulk: some => utils.addJobs(some),
    left: async () => (await pgPool.query('SELECT EXISTS (SELECT 1 FROM graphile_worker._private_jobs) AS yes')).rows[0].yes,
  };
}

async function pgBoss() {
  const { PgBoss } = await library('pg-boss');
  const boss = new PgBoss({ connectionString: url, max: 20, supervise: false, schedule: false,
    useListenNotify: task === 'latency' });
  boss.on('error', error => { throw error; });
  await boss.start();
  await boss.createQueue('task', { notify: task === 'latency' });
  const pg = await library('pg');
  const pool = new pg.default.Pool({ connectionString: url, max: 1 });
  return {
    start: async () => {
      if (task === 'latency') {
        await boss.work('task', { pollingIntervalSeconds: 0.5, batchSize: 20 }, async all => all.forEach(job => handled(job.data.sent)));
        return;
      }
      // Two loops that fetch and complete batches, as its documentation advises for throughput.
      for (let loops = 0; loops < 2; loops += 1) {
        void (async () => {
          for (;;) {
            const all = await boss.fetch('task', { batchSize: 500 });
            if (all.length === 0) return;
            await boss.complete('task', all.map(job => job.id));
            all.forEach(() => handled(0));
          }
        })();
      }
    },
    single: sent => boss.send('task', { sent }),
    job: () => ({ data: { sent: 0 } }),
    bulk: some => boss.insert('task', some),
    left: async () => false,
  };
}

const queue = await (name === 'graphile' ? graphile() : pgBoss());
// Made before the clock starts, as everybody's jobs are.
const some = task === 'bulk' ? Array.from({ length: Math.min(5000, jobs) }, queue.job) : [];
const bulk = async () => {
  for (let at = 0; at < jobs; at += 5000) await queue.bulk(some.slice(0, jobs - at));
};
let begun, processor;
const watch = () => { begun = now(); processor = process.cpuUsage(); };
switch (task) {
  case 'bulk': watch(); await bulk(); break;
  case 'single':
    watch();
    await Promise.all(Array.from({ length: callers }, async () => {
      for (let n = 0; n < jobs / callers; n += 1) await queue.single(0);
    }));
    break;
  case 'drain':
    watch();
    await queue.start();
    await untilHandled();
    while (await queue.left());
    break;
  case 'latency': {
    await queue.start();
    watch();
    const first = now();
    for (let n = 0; n < jobs; n += 1) {
      await sleep(Math.max(0, (first + n * 20_000 - now()) / 1e3));
      await queue.single(now());
    }
    await untilHandled();
    break;
  }
  default: throw new Error(`there is no task ${task}`);
}
const seconds = (now() - begun) / 1e6;
const used = process.cpuUsage(processor);
console.log(JSON.stringify({ jobs, seconds, processor_us_per_job: (used.user + used.system) / jobs,
  resident_mib: process.memoryUsage().rss / 1048576, waited_ms: waited }));
process.exit(0);
