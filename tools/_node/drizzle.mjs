// Drizzle on better-sqlite3: typed tables, and every query prepared once.
// What Drizzle cannot express (which tasks are ready, which account is next) is SQL in it.
import { makeId, now } from "./common.mjs";

export class Adapter {
  constructor(require, sql) {
    this.Database = require("better-sqlite3");
    this.drizzle = require("drizzle-orm/better-sqlite3").drizzle;
    this.orm = require("drizzle-orm");
    this.tables = tablesOf(require("drizzle-orm/sqlite-core"));
    this.sql = sql;
    this.held = new Map();
  }

  open(file) {
    this.client = new this.Database(file, { timeout: 5000, fileMustExist: true });
    for (const pragma of this.sql.PRAGMAS) this.client.exec(pragma);
    this.db = this.drizzle(this.client);
    this.prepared = {};
  }

  close() {
    this.client.close();
  }

  // Prepared when first used.
  query(name) {
    return (this.prepared[name] ??= QUERIES[name](this.db, this.tables, this.orm, this.sql).prepare());
  }

  immediate(work) {
    return this.db.transaction(work, { behavior: "immediate" });
  }

  create(name, phase, initiative, text) {
    const create = this.query("create");
    return this.immediate(() => create.get(taskValues(makeId(), phase, initiative, name, text)));
  }

  find(id) {
    return this.query("find").get({ id });
  }

  phase_tasks(id) {
    return this.query("phaseTasks").all({ id });
  }

  all_tasks() {
    return this.query("allTasks").all();
  }

  next_tasks(after) {
    return this.query("nextTasks").all({ after });
  }

  ready(id) {
    return this.query("ready").all({ id });
  }

  set_status(id, status) {
    const update = this.query("setStatus");
    return this.immediate(() => update.get({ id, status, now: now() }));
  }

  append(agentId, agentName, sessionNumber, content) {
    const append = this.query("append");
    const createdAt = now();
    const row = { id: makeId(), agentId, agentName, sessionNumber, content, createdAt };
    this.immediate(() => append.run(row));
  }

  append_many(chunks) {
    const append = this.query("append");
    this.immediate(() => {
      const createdAt = now();
      for (const [agentId, agentName, sessionNumber, content] of chunks) {
        append.run({ id: makeId(), agentId, agentName, sessionNumber, content, createdAt });
      }
    });
  }

  poll(id) {
    return this.query("poll").all({ id });
  }

  claim(provider) {
    const claim = this.query("claim");
    return this.immediate(() => claim.get({ provider, now: now() }));
  }

  claim_task(initiative, agent) {
    const claim = this.query("claimTask");
    const give = this.query("giveTask");
    return this.immediate(() => {
      const stamp = now();
      const task = claim.get({ id: initiative, now: stamp });
      if (task) {
        give.run({ id: agent, task: task.id, now: stamp });
        this.held.set(agent, task.id);
      }
      return task;
    });
  }

  complete_task(agent) {
    const task = this.held.get(agent);
    if (!task) return undefined;
    this.held.delete(agent);
    const complete = this.query("completeTask");
    const summary = this.sql.SUMMARY;
    return this.immediate(() => complete.get({ id: task, agent, summary, now: now() }));
  }

  plan(phases, tasks, edges) {
    const [insertInitiative, insertPhase, insertTask, insertEdge] = [
      "insertInitiative",
      "insertPhase",
      "insertTask",
      "insertEdge",
    ].map((name) => this.query(name));
    return this.immediate(() => {
      const initiative = makeId();
      insertInitiative.run({ id: initiative, now: now() });
      const made = [];
      for (let number = 0; number < phases; number += 1) {
        const phase = makeId();
        insertPhase.run({ id: phase, initiative, name: `p${number}`, now: now() });
        for (let index = 0; index < tasks; index += 1) {
          const id = makeId();
          insertTask.run(taskValues(id, phase, initiative, `t${index}`, null));
          made.push(id);
        }
      }
      for (const [start, end] of edges) insertEdge.run({ start: made[start], end: made[end] });
      return initiative;
    });
  }
}

function taskValues(id, phaseId, initiativeId, name, description) {
  const stamp = now();
  return { id, phaseId, initiativeId, name, description, createdAt: stamp, updatedAt: stamp };
}

function tablesOf({ sqliteTable, text, integer, primaryKey }) {
  const id = () => text("id").primaryKey();
  const flag = (name) => integer(name, { mode: "boolean" });
  const times = () => ({
    createdAt: integer("created_at").notNull(),
    updatedAt: integer("updated_at").notNull(),
  });
  return {
    initiatives: sqliteTable("initiatives", {
      id: id(),
      name: text("name").notNull(),
      status: text("status").notNull(),
      mergeRequiresApproval: flag("merge_requires_approval").notNull(),
      branch: text("branch"),
      ...times(),
    }),
    phases: sqliteTable("phases", {
      id: id(),
      initiativeId: text("initiative_id").notNull(),
      name: text("name").notNull(),
      content: text("content"),
      status: text("status").notNull(),
      ...times(),
    }),
    tasks: sqliteTable("tasks", {
      id: id(),
      phaseId: text("phase_id"),
      initiativeId: text("initiative_id"),
      parentTaskId: text("parent_task_id"),
      name: text("name").notNull(),
      description: text("description"),
      type: text("type").notNull(),
      category: text("category").notNull(),
      priority: text("priority").notNull(),
      status: text("status").notNull(),
      requiresApproval: flag("requires_approval"),
      sortOrder: integer("sort_order").notNull(),
      summary: text("summary"),
      ...times(),
    }),
    edges: sqliteTable(
      "task_dependencies",
      {
        taskId: text("task_id").notNull(),
        dependsOnTaskId: text("depends_on_task_id").notNull(),
      },
      (edge) => [primaryKey({ columns: [edge.taskId, edge.dependsOnTaskId] })],
    ),
    accounts: sqliteTable("accounts", {
      id: id(),
      email: text("email").notNull(),
      provider: text("provider").notNull(),
      configJson: text("config_json"),
      credentials: text("credentials"),
      isExhausted: flag("is_exhausted").notNull(),
      exhaustedUntil: integer("exhausted_until"),
      lastUsedAt: integer("last_used_at"),
      sortOrder: integer("sort_order").notNull(),
      ...times(),
    }),
    agents: sqliteTable("agents", {
      id: id(),
      taskId: text("task_id"),
      updatedAt: integer("updated_at").notNull(),
    }),
    conversations: sqliteTable("conversations", {
      id: id(),
      fromAgentId: text("from_agent_id").notNull(),
      toAgentId: text("to_agent_id").notNull(),
      initiativeId: text("initiative_id"),
      phaseId: text("phase_id"),
      taskId: text("task_id"),
      question: text("question").notNull(),
      answer: text("answer"),
      status: text("status").notNull(),
      ...times(),
    }),
    chunks: sqliteTable("agent_log_chunks", {
      seq: integer("seq").primaryKey(),
      id: text("id").notNull(),
      agentId: text("agent_id").notNull(),
      agentName: text("agent_name").notNull(),
      sessionNumber: integer("session_number").notNull(),
      content: text("content").notNull(),
      createdAt: integer("created_at").notNull(),
    }),
  };
}

const insertTask = (db, { tasks }, { sql }) =>
  db.insert(tasks).values({
    id: sql.placeholder("id"),
    phaseId: sql.placeholder("phaseId"),
    initiativeId: sql.placeholder("initiativeId"),
    parentTaskId: null,
    name: sql.placeholder("name"),
    description: sql.placeholder("description"),
    type: "auto",
    category: "execute",
    priority: "medium",
    status: "pending",
    requiresApproval: null,
    sortOrder: 0,
    summary: null,
    createdAt: sql.placeholder("createdAt"),
    updatedAt: sql.placeholder("updatedAt"),
  });

// The text behind WHERE of a statement of common.py, with names for its numbered binds.
function named(sql, text, names) {
  const parts = text.split(/\?(\d)/);
  return sql.join(
    parts.map((part, index) => (index % 2 ? sql`${sql.placeholder(names[part - 1])}` : sql.raw(part))),
  );
}

const condition = (text) => text.slice(text.indexOf(" WHERE ") + 7, text.lastIndexOf(" RETURNING "));

const QUERIES = {
  insertTask,
  create: (...all) => insertTask(...all).returning(),
  find: (db, { tasks }, { eq, sql }) =>
    db.select().from(tasks).where(eq(tasks.id, sql.placeholder("id"))),
  phaseTasks: (db, { tasks }, { eq, sql }) =>
    db
      .select()
      .from(tasks)
      .where(eq(tasks.phaseId, sql.placeholder("id")))
      .orderBy(tasks.sortOrder, tasks.createdAt, tasks.id),
  allTasks: (db, { tasks }) => db.select().from(tasks).orderBy(tasks.createdAt, tasks.id),
  nextTasks: (db, { tasks }, { sql }, { PAGE }) =>
    db
      .select()
      .from(tasks)
      .where(
        sql`(created_at, id) > (SELECT created_at, id FROM tasks WHERE id = ${sql.placeholder("after")})`,
      )
      .orderBy(tasks.createdAt, tasks.id)
      .limit(PAGE),
  ready: (db, { tasks }, { and, eq, sql }, { READY, MOST_URGENT }) =>
    db
      .select()
      .from(tasks)
      .where(and(eq(tasks.initiativeId, sql.placeholder("id")), sql.raw(READY)))
      .orderBy(sql.raw(MOST_URGENT.replace("ORDER BY ", ""))),
  setStatus: (db, { tasks }, { eq, sql }) =>
    db
      .update(tasks)
      .set({ status: sql.placeholder("status"), updatedAt: sql.placeholder("now") })
      .where(eq(tasks.id, sql.placeholder("id")))
      .returning(),
  append: (db, { chunks }, { sql }) =>
    db.insert(chunks).values({
      id: sql.placeholder("id"),
      agentId: sql.placeholder("agentId"),
      agentName: sql.placeholder("agentName"),
      sessionNumber: sql.placeholder("sessionNumber"),
      content: sql.placeholder("content"),
      createdAt: sql.placeholder("createdAt"),
    }),
  poll: (db, { conversations }, { and, eq, sql }) =>
    db
      .select()
      .from(conversations)
      .where(
        and(
          eq(conversations.toAgentId, sql.placeholder("id")),
          eq(conversations.status, "pending"),
        ),
      )
      .orderBy(conversations.createdAt, conversations.id),
  claim: (db, { accounts }, { sql }, { CLAIM_ACCOUNT }) =>
    db
      .update(accounts)
      .set({ lastUsedAt: sql.placeholder("now"), updatedAt: sql.placeholder("now") })
      .where(named(sql, condition(CLAIM_ACCOUNT), ["now", "provider"]))
      .returning(),
  claimTask: (db, { tasks }, { sql }, { CLAIM_TASK }) =>
    db
      .update(tasks)
      .set({ status: "in_progress", updatedAt: sql.placeholder("now") })
      .where(named(sql, condition(CLAIM_TASK), ["now", "id"]))
      .returning(),
  giveTask: (db, { agents }, { eq, sql }) =>
    db
      .update(agents)
      .set({ taskId: sql.placeholder("task"), updatedAt: sql.placeholder("now") })
      .where(eq(agents.id, sql.placeholder("id"))),
  completeTask: (db, { tasks }, { sql }, { COMPLETE_TASK }) =>
    db
      .update(tasks)
      .set({
        status: "completed",
        summary: sql.placeholder("summary"),
        updatedAt: sql.placeholder("now"),
      })
      .where(named(sql, condition(COMPLETE_TASK), ["summary", "now", "id", "agent"]))
      .returning(),
  insertInitiative: (db, { initiatives }, { sql }) =>
    db.insert(initiatives).values({
      id: sql.placeholder("id"),
      name: "plan",
      status: "active",
      mergeRequiresApproval: true,
      branch: null,
      createdAt: sql.placeholder("now"),
      updatedAt: sql.placeholder("now"),
    }),
  insertPhase: (db, { phases }, { sql }) =>
    db.insert(phases).values({
      id: sql.placeholder("id"),
      initiativeId: sql.placeholder("initiative"),
      name: sql.placeholder("name"),
      content: null,
      status: "pending",
      createdAt: sql.placeholder("now"),
      updatedAt: sql.placeholder("now"),
    }),
  insertEdge: (db, { edges }, { sql }) =>
    db
      .insert(edges)
      .values({ taskId: sql.placeholder("start"), dependsOnTaskId: sql.placeholder("end") }),
};
