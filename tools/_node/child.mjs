// One adapter in a process of its own, told over its standard input what to do: as child.py of
// tools/_python/bench, but that the parent also sends the calls, as [method, arguments].
//
// Arguments: the folder with node_modules, the adapter's file, and a file of SQL by name (JSON).
// With a database and the id of a task besides, it opens the one, finds the other, and ends.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [home, module, statements, file, task] = process.argv.slice(2);
const require = createRequire(`${home}/package.json`);
const sql = JSON.parse(readFileSync(statements, "utf8"));
const { Adapter } = await import(module);

// Rows as lists of what the database holds.
function plain(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === "boolean") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "object" ? Object.values(value).map(plain) : value;
}

class Child {
  constructor() {
    this.adapter = new Adapter(require, sql);
    this.calls = [];
  }

  can({ calls }) {
    return calls[0][0] in this.adapter;
  }

  open({ file }) {
    this.file = file;
    this.adapter.open(file);
  }

  close() {
    this.adapter.close();
  }

  prepare({ before, calls, opening }) {
    for (const [method, values] of before) this.adapter[method](...values);
    this.opening = opening;
    this.calls = calls;
    globalThis.gc();
  }

  run() {
    const { adapter, calls } = this;
    const used = process.cpuUsage();
    const started = process.hrtime.bigint();
    if (this.opening) {
      for (const [method, values] of calls) {
        const another = new Adapter(require, sql);
        another.open(this.file);
        another[method](...values);
        another.close();
      }
    } else {
      for (const [method, values] of calls) adapter[method](...values);
    }
    const spent = Number(process.hrtime.bigint() - started);
    const { user, system } = process.cpuUsage(used); // microseconds
    return [spent, (user + system) * 1000];
  }

  sample({ before, calls }) {
    for (const [method, values] of before) this.adapter[method](...values);
    const [method, values] = calls[0];
    return plain(this.adapter[method](...values));
  }
}

if (file) {
  const adapter = new Adapter(require, sql);
  adapter.open(file);
  if (!adapter.find(task)) throw new Error("the first query found nothing");
  adapter.close();
} else {
  const child = new Child();
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: what, ...values } = JSON.parse(line);
    console.log(JSON.stringify(child[what](values) ?? null));
  }
}
