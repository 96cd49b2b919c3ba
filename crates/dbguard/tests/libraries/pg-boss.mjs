import { counts, errors, failure, handle, library, load, serve, stop, url } from './common.mjs';

const { PgBoss } = await library('pg-boss');
const boss = new PgBoss({ connectionString: url, application_name: 'shop', max: 8 });
boss.on('error', failure);

await serve({
  async migrate() {
    await boss.start();
    await boss.createQueue('shared', { retryLimit: 5, retryDelay: 0 });
    await boss.createQueue('own', { retryLimit: 5, retryDelay: 0, partition: true });
  },
  async load() {
    for (const queue of ['shared', 'own']) {
      await boss.work(queue, { batchSize: 20, pollingIntervalSeconds: 0.5 }, async jobs => {
        for (const job of jobs) {
          try { handle(job.data.number); await boss.complete(queue, job.id); }
          catch (error) { await boss.fail(queue, job.id, { message: error.message }); }
        }
      });
    }
    return load(number => boss.send(number % 2 ? 'shared' : 'own', { number }));
  },
  counts: () => ({ ...counts, errors }),
  stop,
  queue: name => boss.createQueue(name, { partition: true }),
  async fetch(queue, many) {
    for (let sent = 0; sent < Number(many); sent += 1) await boss.send(queue, { number: sent });
    return { jobs: (await boss.fetch(queue, { batchSize: Number(many) })).map(job => job.id) };
  },
  supervise: queue => boss.supervise(queue),
  cancel: (queue, ...ids) => boss.cancel(queue, ids),
  fail: (queue, ...ids) => boss.fail(queue, ids),
  complete: (queue, ...ids) => boss.complete(queue, ids),
});
