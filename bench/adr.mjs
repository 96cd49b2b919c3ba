// The five layers of ADR-061 by PM2's own command line: what a careful workflow step does without Palisade.
// usage: node adr.mjs PM2 WORKFLOW_FILE FOLDER NAME...
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [pm2, workflow, folder, ...owned] = process.argv.slice(2);
const run = (...args) => execFileSync(process.execPath, [pm2, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });

// Layer 1: which file is it that runs.
const sha256 = createHash('sha256').update(readFileSync(workflow)).digest('hex');
writeFileSync(join(folder, 'metadata.json'), JSON.stringify({ workflow, sha256, at: new Date().toISOString() }));

// Layer 2: the state before.
const before = run('jlist');
writeFileSync(join(folder, 'before.json'), before);
const list = JSON.parse(before);

// Layers 3 and 4: who is a target, and is that plausible.
const targets = list.filter((entry) => owned.includes(entry.name));
if (targets.length !== owned.length) throw new Error(`expected ${owned.length} targets, found ${targets.length}`);
if (targets.length === list.length) throw new Error('refusing to delete every process');

for (const target of targets) run('delete', target.name);

// Layer 5: gone is what was meant, and nothing else.
const after = JSON.parse(run('jlist')).map((entry) => entry.name);
const spared = list.filter((entry) => !targets.includes(entry)).map((entry) => entry.name);
if (after.length !== spared.length || !spared.every((name) => after.includes(name))) {
  throw new Error(`expected ${spared} afterwards, found ${after}`);
}
