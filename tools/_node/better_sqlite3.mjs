// better-sqlite3 as its documentation shows it: prepared statements, rows as objects.
import { makeId, now } from "./common.mjs";

export class Adapter {
  constructor(require, sql) {
    this.Database = require("better-sqlite3");
    this.sql = sql;
    this.held = new Map();
  }

  open(file) {
    this.db = new this.Database(file, { timeout: 5000, fileMustExist: true });
    for (const pragma of this.sql.PRAGMAS) this.db.exec(pragma);
    this.prepared = {};
    this.immediate = this.db.transaction((work) => work()).immediate;
  }

  close() {
    this.db.close();
  }

  // Prepared when first used.
  statement(name) {
    return (this.prepared[name] ??= this.db.prepare(this.sql[name]));
  }

  create(name, phase, initiative, text) {
    const create = this.statement("CREATE_TASK");
    return this.immediate(() => create.get(...taskValues(makeId(), phase, initiative, name, text)));
  }

  find(id) {
    return this.statement("FIND_TASK").get(id);
  }

  phase_tasks(id) {
    return this.statement("PHASE_TASKS").all(id);
  }

  all_tasks() {
    return this.statement("ALL_TASKS").all();
  }

  next_tasks(after) {
    return this.statement("NEXT_TASKS").all(after);
  }

  ready(initiative) {
    return this.statement("READY_TASKS").all(initiative);
  }

  set_status(id, status) {
    const update = this.statement("SET_STATUS");
    return this.immediate(() => update.get(status, now(), id));
  }

  append(agent, name, session, content) {
    const append = this.statement("APPEND");
    this.immediate(() => append.run(makeId(), agent, name, session, content, now()));
  }

  append_many(chunks) {
    const append = this.statement("APPEND");
    this.immediate(() => {
      const stamp = now();
      for (const chunk of chunks) append.run(makeId(), ...chunk, stamp);
    });
  }

  poll(agent) {
    return this.statement("POLL").all(agent);
  }

  claim(provider) {
    const claim = this.statement("CLAIM_ACCOUNT");
    return this.immediate(() => claim.get({ 1: now(), 2: provider }));
  }

  claim_task(initiative, agent) {
    const claim = this.statement("CLAIM_TASK");
    const give = this.statement("GIVE_TASK");
    return this.immediate(() => {
      const stamp = now();
      const task = claim.get({ 1: stamp, 2: initiative });
      if (task) {
        give.run({ 1: task.id, 2: stamp, 3: agent });
        this.held.set(agent, task.id);
      }
      return task;
    });
  }

  complete_task(agent) {
    const task = this.held.get(agent);
    if (!task) return undefined;
    this.held.delete(agent);
    const complete = this.statement("COMPLETE_TASK");
    return this.immediate(() => complete.get({ 1: this.sql.SUMMARY, 2: now(), 3: task, 4: agent }));
  }

  plan(phases, tasks, edges) {
    const [initiatives, phase, task, edge] = [
      "INSERT_INITIATIVE",
      "INSERT_PHASE",
      "INSERT_TASK",
      "INSERT_EDGE",
    ].map((name) => this.statement(name));
    return this.immediate(() => {
      const initiative = makeId();
      const stamp = now();
      initiatives.run(initiative, "plan", "active", 1, null, stamp, stamp);
      const made = [];
      for (let number = 0; number < phases; number += 1) {
        const id = makeId();
        const made_at = now();
        phase.run(id, initiative, `p${number}`, null, "pending", made_at, made_at);
        for (let index = 0; index < tasks; index += 1) {
          const key = makeId();
          task.run(...taskValues(key, id, initiative, `t${index}`, null));
          made.push(key);
        }
      }
      for (const [start, end] of edges) edge.run(made[start], made[end]);
      return initiative;
    });
  }
}

function taskValues(id, phase, initiative, name, text) {
  const stamp = now();
  return [
    ...[id, phase, initiative, null, name, text, "auto", "execute", "medium", "pending"],
    ...[null, 0, null, stamp, stamp],
  ];
}
