// Proof of the contract: the stage of tables. What it does stands in ../README.md.
import { write } from "conveyor:stage/log@0.1.0";

export const about = {
  describe() {
    return {
      name: "contract-table",
      version: "0.1.0",
      summary: "Keeps rows by their amount and names their region",
      configSchema:
        '{"type":"object","required":["minimum"],' +
        '"properties":{"minimum":{"type":"number"}},"additionalProperties":false}',
      needs: [],
      hints: [["language", "js"]],
    };
  },
};

const NUMBERS = ["s32s", "s64s", "u64s", "f32s", "f64s", "opaque"];
const TEXTS = ["texts", "dictionaries"];
const PLUS = 0x2b;
const UNKNOWN = new TextEncoder().encode("unknown");

let minimum;

export const tableTransform = {
  plan(config, input) {
    const { amount } = check(config, input);
    return {
      wanted: [
        { name: "amount", kind: "f64s", nullable: amount.nullable, logical: "" },
        { name: "country", kind: "texts", nullable: true, logical: "" },
      ],
      times: true,
      keys: false,
      outputs: [
        { name: "large", select: undefined, set: [{ name: "region", kind: "texts", nullable: false, logical: "" }] },
        {
          name: "small",
          select: [
            { name: "amount", column: "amount" },
            { name: "land", column: "country" },
          ],
          set: [],
        },
      ],
    };
  },

  open(config, input) {
    minimum = check(config, input).minimum;
    write("info", "ready", [["columns", String(input.length)]]);
  },

  process({ rows, times, columns }) {
    if (minimum === undefined) throw { tag: "fatal", val: "process was called before open" };
    const [{ valid, data }, countries] = columns;
    const amounts = data.val;
    const large = { rows: [], origins: [], times: [], regions: new Texts(), madeRegions: new Texts() };
    const small = [];
    const rejections = [];
    for (let i = 0; i < rows; i++) {
      if (!isValid(valid, i)) {
        rejections.push({ of: i, code: "no-amount", message: "amount is null" });
      } else if (amounts[i] < 0) {
        rejections.push({ of: i, code: "negative-amount", message: "amount is negative" });
      } else if (amounts[i] >= minimum) {
        keep(large, countries, times, i);
      } else {
        small.push(i);
      }
    }
    const emissions = [
      {
        port: 0,
        forwarded: forwarded(rows, large.rows),
        set: [large.regions.column()],
        made: made(large),
      },
    ];
    if (small.length > 0) {
      emissions.push({
        port: 1,
        forwarded: forwarded(rows, small),
        set: [],
        made: undefined,
      });
    }
    return { emissions, rejections, held: 0 };
  },
};

function check(text, input) {
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
  if (typeof config.minimum !== "number") throw invalid("config.minimum: a number is wanted");
  const [amount, country] = ["amount", "country"].map((name) => {
    const field = input.find((field) => field.name === name);
    if (!field) throw invalid(`input: there is no column ${name}`);
    return field;
  });
  if (!NUMBERS.includes(amount.kind)) throw invalid("input.amount: a number is wanted");
  if (!TEXTS.includes(country.kind)) throw invalid("input.country: a text is wanted");
  return { minimum: config.minimum, amount };
}

function keep(large, countries, times, i) {
  if (!isValid(countries.valid, i)) {
    large.rows.push(i);
    large.regions.push(UNKNOWN);
    return;
  }
  const { offsets, bytes } = countries.data.val;
  const country = bytes.subarray(offsets[i], offsets[i + 1]);
  if (!country.includes(PLUS)) {
    large.rows.push(i);
    large.regions.push(upper(country));
    return;
  }
  let start = 0;
  for (let part = 0n; start <= country.length; part++) {
    const plus = country.indexOf(PLUS, start);
    const end = plus < 0 ? country.length : plus;
    large.origins.push(i);
    large.madeRegions.push(upper(country.subarray(start, end)));
    if (times) large.times.push(times[i] + part);
    start = end + 1;
  }
}

function made({ origins, times, madeRegions }) {
  if (origins.length === 0) return undefined;
  return {
    origins: { tag: "these", val: Uint32Array.from(origins) },
    times: times.length > 0 ? BigInt64Array.from(times) : undefined,
    keys: undefined,
    set: [madeRegions.column()],
  };
}

// A column of texts that grows.
class Texts {
  offsets = [];
  texts = [];
  length = 0;

  push(text) {
    if (this.offsets.length === 0) this.offsets.push(0);
    this.texts.push(text);
    this.length += text.length;
    this.offsets.push(this.length);
  }

  column() {
    const bytes = new Uint8Array(this.length);
    this.texts.forEach((text, i) => bytes.set(text, this.offsets[i]));
    const texts = { offsets: Uint32Array.from(this.offsets), bytes };
    return { valid: undefined, data: { tag: "texts", val: texts } };
  }
}

function forwarded(rows, these) {
  if (these.length === 0) return { tag: "nothing" };
  if (these.length === rows) return { tag: "all" };
  return { tag: "these", val: Uint32Array.from(these) };
}

function upper(text) {
  return text.map((c) => (c >= 0x61 && c <= 0x7a ? c - 32 : c));
}

function isValid(bitmap, i) {
  return bitmap === undefined || ((bitmap[i >> 3] >> (i & 7)) & 1) === 1;
}
