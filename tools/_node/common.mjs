// Ids and stamps, as common.py of tools/_python/bench makes them.
import { randomBytes } from "node:crypto";

export const makeId = () => randomBytes(16).toString("base64url").slice(0, 21);

// Microseconds since 1970.
export const now = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
