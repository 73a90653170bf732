// Proof of the contract: the stage of bytes. What it does stands in ../README.md.
import { write } from "conveyor:stage/log@0.1.0";

export const about = {
  describe() {
    return {
      name: "contract-bytes",
      version: "0.1.0",
      summary: "Keeps records by their first byte and splits them at a separator",
      configSchema:
        '{"type":"object","required":["keep"],"properties":{"keep":{"type":"string"},' +
        '"separator":{"type":"string"},"busy":{"type":"string"}},"additionalProperties":false}',
      needs: [],
      hints: [["language", "js"]],
    };
  },
};

let opened;

export const transform = {
  plan(config) {
    parse(config);
    return { times: true, keys: true, headers: true, outputs: ["main", "deleted"] };
  },

  open(config) {
    opened = parse(config);
    write("info", "ready", [["keep", String.fromCharCode(opened.keep)]]);
  },

  // An error is answered by throwing its value.
  process(input) {
    if (!opened) throw { tag: "fatal", val: "process was called before open" };
    const dropped = droppedRecords(input.headers);
    const main = [];
    const deleted = [];
    const rejections = [];
    const made = new Made();
    for (let i = 0; i < input.rows; i++) {
      if (dropped.has(i)) continue;
      const value = get(input.values, i);
      if (value === undefined) {
        deleted.push(i);
      } else if (value.length === 0) {
        rejections.push({ of: i, code: "empty", message: "the value has no bytes" });
      } else if (value[0] === opened.busy) {
        throw { tag: "retry", val: { afterMs: 250, message: `record ${i} asks for another try` } };
      } else if (value[0] === opened.keep) {
        const at = value.indexOf(opened.separator);
        if (at < 0) main.push(i);
        else made.split(input, i, value.subarray(0, at), value.subarray(at + 1));
      }
    }
    const emissions = [
      {
        port: 0,
        forwarded: forwarded(input.rows, main),
        made: made.finish(),
      },
    ];
    if (deleted.length > 0) {
      emissions.push({
        port: 1,
        forwarded: forwarded(input.rows, deleted),
        made: undefined,
      });
    }
    return { emissions, rejections, held: 0 };
  },
};

function parse(text) {
  const invalid = (message) => ({ tag: "invalid", val: message });
  let config;
  try {
    config = JSON.parse(text);
  } catch {
    config = undefined;
  }
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw invalid("config: a JSON object is wanted");
  }
  const byte = (name, otherwise) => {
    const value = name in config ? config[name] : otherwise;
    if (value === undefined && name === "busy") return undefined;
    if (typeof value !== "string" || value.length !== 1 || value.charCodeAt(0) > 127) {
      throw invalid(`config.${name}: a text of one ASCII character is wanted`);
    }
    return value.charCodeAt(0);
  };
  return { keep: byte("keep"), separator: byte("separator", "|"), busy: byte("busy") };
}

// A blob column that grows.
class Blobs {
  valid = [];
  offsets = [];
  parts = [];
  length = 0;
  rows = 0;

  push(...parts) {
    if (this.rows === 0) this.offsets.push(0);
    if (this.rows % 8 === 0) this.valid.push(0);
    if (parts[0] !== undefined) {
      this.valid[this.valid.length - 1] |= 1 << (this.rows % 8);
      for (const part of parts) {
        this.parts.push(part);
        this.length += part.length;
      }
    }
    this.offsets.push(this.length);
    this.rows++;
  }

  finish() {
    const bytes = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return { valid: Uint8Array.from(this.valid), blobs: { offsets: Uint32Array.from(this.offsets), bytes } };
  }
}

const SECOND = Uint8Array.of(0x2f, 0x32);

// The records that are made, in the form in which they leave.
class Made {
  origins = [];
  times = [];
  keys = new Blobs();
  values = new Blobs();

  split(input, i, left, right) {
    this.origins.push(i, i);
    this.values.push(left);
    this.values.push(right);
    if (input.times) this.times.push(input.times[i], input.times[i] + 1n);
    if (input.keys) {
      const key = get(input.keys, i);
      this.keys.push(key);
      this.keys.push(key, SECOND);
    }
  }

  finish() {
    const rows = this.origins.length;
    if (rows === 0) return undefined;
    const headers = {
      names: ["part"],
      of: Uint32Array.from({ length: rows }, (_, i) => i),
      name: new Uint16Array(rows),
      values: {
        offsets: Uint32Array.from({ length: rows + 1 }, (_, i) => i),
        bytes: Uint8Array.from({ length: rows }, (_, i) => 0x31 + (i % 2)),
      },
    };
    return {
      origins: { tag: "these", val: Uint32Array.from(this.origins) },
      times: this.times.length > 0 ? BigInt64Array.from(this.times) : undefined,
      keys: this.keys.rows > 0 ? this.keys.finish() : undefined,
      headers,
      values: this.values.finish(),
    };
  }
}

function forwarded(rows, these) {
  if (these.length === 0) return { tag: "nothing" };
  if (these.length === rows) return { tag: "all" };
  return { tag: "these", val: Uint32Array.from(these) };
}

function droppedRecords(headers) {
  const found = new Set();
  headers?.of.forEach((record, i) => {
    if (headers.names[headers.name[i]] === "drop") found.add(record);
  });
  return found;
}

function get({ valid, blobs }, i) {
  if (valid && ((valid[i >> 3] >> (i & 7)) & 1) === 0) return undefined;
  return blobs.bytes.subarray(blobs.offsets[i], blobs.offsets[i + 1]);
}
