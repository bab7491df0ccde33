// The Node SDK: `MilvusClient` as its users create, fill, search and change collections.
//
// Runs in the repository's root and tells the runner line by line what happened, as `scenario.py` does in Python.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { ConsistencyLevelEnum, DataType, MilvusClient } from "@zilliz/milvus2-sdk-node";

const URI = process.env.ELANUS_URI ?? "http://127.0.0.1:19530";
const DIM = 64;
const DYNAMIC = "$meta"; // where the SDK puts what is no field of the schema

const PASSAGES = JSON.parse(readFileSync("clients/passages.json", "utf8"));

// Words hashed to places, as in embedding.py.
function embed(text) {
  const vector = new Array(DIM).fill(0);
  for (const word of text.toLowerCase().match(/\w+/g) ?? []) {
    const digest = createHash("sha256").update(word).digest();
    vector[digest[0] % DIM] += digest[1] % 2 ? 1 : -1;
  }
  const length = Math.hypot(...vector);
  return vector.map((x) => x / length);
}

const ROWS = PASSAGES.map((passage, id) => ({ id, vector: embed(passage.text), ...passage }));

const client = new MilvusClient({ address: URI });

async function ok(promise) {
  const answer = await promise;
  const status = answer.status ?? answer;
  assert.equal(status.error_code, "Success", JSON.stringify(status));
  return answer;
}

async function fresh(name) {
  await ok(client.dropCollection({ collection_name: name }));
  return name;
}

async function quick(name = "quick") {
  await fresh(name);
  await ok(client.createCollection({ collection_name: name, dimension: DIM, consistency_level: "Strong" }));
  const inserted = await ok(client.insert({ collection_name: name, data: ROWS }));
  assert.equal(Number(inserted.insert_cnt), ROWS.length);
  return name;
}

async function withSchema(name = "schema") {
  await fresh(name);
  await ok(
    client.createCollection({
      collection_name: name,
      description: "passages",
      consistency_level: ConsistencyLevelEnum.Strong,
      enable_dynamic_field: false,
      fields: [
        { name: "key", data_type: DataType.VarChar, max_length: 64, is_primary_key: true },
        { name: "vector", data_type: DataType.FloatVector, dim: DIM },
        { name: "text", data_type: DataType.VarChar, max_length: 1000 },
        { name: "topic", data_type: DataType.VarChar, max_length: 64, nullable: true },
        { name: "year", data_type: DataType.Int64, default_value: 2000 },
        { name: "about", data_type: DataType.JSON },
        { name: "weight", data_type: DataType.Double },
        { name: "rare", data_type: DataType.Bool },
        { name: "rank", data_type: DataType.Int16 },
      ],
      index_params: [
        { field_name: "vector", index_type: "HNSW", metric_type: "L2", params: { M: 16, efConstruction: 64 } },
        { field_name: "topic", index_type: "INVERTED" },
      ],
    }),
  );
  const data = ROWS.map(({ id, ...row }) => ({
    ...row,
    about: { words: row.text.split(" ").length, tags: [row.topic, row.key] },
    weight: id / 8,
    rare: id % 5 === 0,
    rank: -id,
  }));
  await ok(client.insert({ collection_name: name, data }));
  await ok(client.loadCollectionSync({ collection_name: name }));
  return name;
}

function near(a, b) {
  assert.ok(Math.abs(a - b) < 1e-5, `${a} is not ${b}`);
}

const steps = {
  async "the client connects and learns the version"() {
    await client.connectPromise;
    const { version } = await ok(client.getVersion());
    assert.match(version, /^2\.6/);
    assert.equal((await client.checkHealth()).isHealthy, true);
  },

  async "a quick collection is ready at once"() {
    const collection_name = await quick();
    assert.equal((await ok(client.hasCollection({ collection_name }))).value, true);
    assert.equal((await ok(client.hasCollection({ collection_name: "absent" }))).value, false);
    const listed = await ok(client.listCollections());
    assert.ok(listed.data.some((each) => each.name === collection_name));
    assert.equal((await ok(client.getLoadState({ collection_name }))).state, "LoadStateLoaded");
    const found = await ok(
      client.search({ collection_name, data: ROWS[3].vector, limit: 3, output_fields: ["id", "key", "year"] }),
    );
    assert.equal(found.results.length, 3);
    const [{ id, key, year, score }] = found.results;
    assert.deepEqual([id, key, year], ["3", "heron", 2020]);
    near(score, 1);
  },

  async "several questions are answered in one search"() {
    const collection_name = await quick();
    const found = await ok(
      client.search({ collection_name, data: [ROWS[3].vector, ROWS[5].vector], limit: 2, output_fields: ["key"] }),
    );
    assert.deepEqual(found.results.map((hits) => [hits.length, hits[0].key]), [[2, "heron"], [2, "birch"]]);
  },

  async "a schema is described as it was made"() {
    const collection_name = await withSchema();
    const described = await ok(client.describeCollection({ collection_name }));
    const fields = Object.fromEntries(described.schema.fields.map((field) => [field.name, field]));
    assert.equal(fields.key.is_primary_key, true);
    assert.equal(fields.vector.data_type, "FloatVector");
    assert.equal(fields.topic.nullable, true);
    assert.equal(fields.vector.type_params.find((pair) => pair.key === "dim").value, String(DIM));
    assert.equal(described.schema.description, "passages");
    assert.equal(described.consistency_level, "Strong");
    const index = await ok(client.describeIndex({ collection_name, field_name: "vector" }));
    const params = Object.fromEntries(index.index_descriptions[0].params.map(({ key, value }) => [key, value]));
    assert.equal(params.index_type, "HNSW");
    assert.equal(params.metric_type, "L2");
    const listed = await ok(client.listIndexes({ collection_name }));
    assert.deepEqual([...listed.indexes].sort(), ["topic", "vector"]);
  },

  async "rows come back as they went in"() {
    const collection_name = await withSchema();
    const { data } = await ok(client.get({ collection_name, ids: ["slate"], output_fields: ["*"] }));
    assert.equal(data.length, 1);
    const [row] = data;
    assert.equal(row.text, PASSAGES[10].text);
    assert.deepEqual(row.about, { words: 12, tags: ["stones", "slate"] });
    assert.deepEqual([row.weight, row.rare, Number(row.year), row.rank], [10 / 8, true, 2015, -10]);
    row.vector.forEach((x, place) => near(x, ROWS[10].vector[place]));
    const bare = { key: "bare", vector: embed("bare"), text: "", about: {}, weight: 0.5, rare: false, rank: 1 };
    await ok(client.insert({ collection_name, data: [bare] }));
    const { data: [back] } = await ok(client.get({ collection_name, ids: ["bare"], output_fields: ["topic", "year"] }));
    assert.deepEqual([back.topic, Number(back.year)], [null, 2000]);
  },

  async "filters choose rows"() {
    const collection_name = await withSchema();
    const matching = async (filter, more = {}) => {
      const { data } = await ok(client.query({ collection_name, filter, output_fields: ["key"], ...more }));
      return data.map((row) => row.key).sort();
    };
    assert.deepEqual(await matching('topic == "trees" and year > 2000'), ["birch", "pine", "willow"]);
    assert.deepEqual(await matching("year in [1998, 2003]"), ["basalt", "eagle", "oak", "owl"]);
    assert.deepEqual(await matching('text like "%river%"'), ["eagle", "heron", "willow"]);
    assert.deepEqual(await matching('about["words"] > 13'), ["eagle"]);
    assert.deepEqual(await matching("rare == true and weight < 1.0"), ["birch", "eagle"]);
    assert.deepEqual(await matching("rank <= -10"), ["flint", "slate"]);
    assert.deepEqual(await matching("key in {wanted}", { exprValues: { wanted: ["oak", "none"] } }), ["oak"]);
    assert.equal((await matching("year > 0", { limit: 5, offset: 10 })).length, 2);
    const found = await ok(
      client.search({ collection_name, data: embed("river"), limit: 12, filter: "weight >= 1.0", output_fields: ["key"] }),
    );
    assert.deepEqual(found.results.map((hit) => hit.key).sort(), ["basalt", "flint", "granite", "slate"]);
  },

  async "searches take parameters"() {
    const collection_name = await withSchema();
    const ask = { collection_name, data: ROWS[0].vector, output_fields: ["key"], params: { ef: 64 } };
    const everything = (await ok(client.search({ ...ask, limit: 12 }))).results;
    assert.equal(everything[0].key, "eagle");
    near(everything[0].score, 0);
    const page = (await ok(client.search({ ...ask, limit: 4, offset: 2 }))).results;
    assert.deepEqual(page.map((hit) => hit.key), everything.slice(2, 6).map((hit) => hit.key));
    const near1 = (await ok(client.search({ ...ask, limit: 12, params: { radius: 1.5, range_filter: 0 } }))).results;
    assert.deepEqual(near1.map((hit) => hit.key), everything.filter((hit) => hit.score < 1.5).map((hit) => hit.key));
  },

  async "rows are deleted by id and by filter"() {
    const collection_name = await quick();
    const byId = await ok(client.delete({ collection_name, ids: [0, 1] }));
    assert.equal(Number(byId.delete_cnt), 2);
    await ok(client.delete({ collection_name, filter: 'topic == "stones"' }));
    const { data } = await ok(client.query({ collection_name, filter: "id >= 0", output_fields: ["id"] }));
    assert.deepEqual(data.map((row) => Number(row.id)), [2, 3, 4, 5, 6, 7]);
    assert.equal((await ok(client.count({ collection_name }))).data, 6);
    assert.equal((await ok(client.count({ collection_name, expr: "year > 2010" }))).data, 4);
    const statistics = await ok(client.getCollectionStatistics({ collection_name }));
    assert.equal(Number(statistics.data.row_count), 6);
  },

  async "rows are replaced"() {
    const collection_name = await quick();
    const changed = { ...ROWS[1], text: "Penguins march", vector: embed("Penguins march"), year: 2024 };
    const done = await ok(client.upsert({ collection_name, data: [changed, { ...ROWS[0], id: 100 }] }));
    assert.equal(Number(done.upsert_cnt), 2);
    const { data } = await ok(client.get({ collection_name, ids: [1], output_fields: ["text", "year"] }));
    assert.deepEqual(data, [{ id: "1", [DYNAMIC]: { text: "Penguins march", year: 2024 } }]);
    assert.equal((await ok(client.count({ collection_name }))).data, 13);
  },

  async "keys made by the server are returned"() {
    const collection_name = await fresh("numbered");
    await ok(client.createCollection({ collection_name, dimension: DIM, auto_id: true, consistency_level: "Strong" }));
    const inserted = await ok(client.insert({ collection_name, data: ROWS.map(({ id, ...row }) => row) }));
    const made = inserted.IDs.int_id.data;
    assert.equal(new Set(made).size, ROWS.length);
    const { data: [row] } = await ok(client.get({ collection_name, ids: [made[7]], output_fields: ["key"] }));
    assert.equal(row[DYNAMIC].key, "pine");
    await ok(client.dropCollection({ collection_name }));
  },

  async "iterators bring every row once"() {
    const collection_name = await quick();
    const seen = [];
    const pages = await client.queryIterator({ collection_name, batchSize: 5, filter: "id >= 0", output_fields: ["id"] });
    for await (const page of pages) seen.push(...page.map((row) => Number(row.id)));
    assert.deepEqual(seen, [...ROWS.keys()]);
    const line = await fresh("line");
    await ok(client.createCollection({ collection_name: line, dimension: 4, metric_type: "L2", consistency_level: "Strong" }));
    await ok(client.insert({ collection_name: line, data: [...Array(20).keys()].map((id) => ({ id, vector: [id, 1, 0, 0] })) }));
    const found = [];
    const hits = await client.searchIterator({
      collection_name: line, data: [0.1, 1, 0, 0], batchSize: 5, limit: 12, output_fields: ["id"],
    });
    for await (const page of hits) found.push(...page.map((hit) => Number(hit.id)));
    assert.deepEqual(found, [...Array(12).keys()]);
  },

  async "a released collection is not searched until it is loaded"() {
    const collection_name = await quick();
    await ok(client.releaseCollection({ collection_name }));
    assert.equal((await ok(client.getLoadState({ collection_name }))).state, "LoadStateNotLoad");
    const refused = await client.search({ collection_name, data: ROWS[0].vector, limit: 1 });
    assert.equal(refused.status.code, 101);
    await ok(client.dropIndex({ collection_name, field_name: "vector" }));
    await ok(
      client.createIndex({ collection_name, field_name: "vector", index_type: "IVF_FLAT", metric_type: "COSINE", params: { nlist: 4 } }),
    );
    await ok(client.loadCollectionSync({ collection_name }));
    await ok(client.flushSync({ collection_names: [collection_name] }));
    const found = await ok(client.search({ collection_name, data: ROWS[7].vector, limit: 1, params: { nprobe: 4 } }));
    assert.equal(Number(found.results[0].id), 7);
  },

  async "partitions hold their rows"() {
    const collection_name = await quick();
    await ok(client.createPartition({ collection_name, partition_name: "archive" }));
    const data = ROWS.map((row) => ({ ...row, id: row.id + 100 }));
    await ok(client.insert({ collection_name, partition_name: "archive", data }));
    const listed = await ok(client.showPartitions({ collection_name }));
    assert.deepEqual([...listed.partition_names].sort(), ["_default", "archive"]);
    const found = await ok(
      client.search({ collection_name, partition_names: ["archive"], data: ROWS[3].vector, limit: 2 }),
    );
    assert.equal(Number(found.results[0].id), 103);
    await ok(client.releasePartitions({ collection_name, partition_names: ["archive"] }));
    await ok(client.dropPartition({ collection_name, partition_name: "archive" }));
    assert.equal((await ok(client.count({ collection_name }))).data, 12);
  },

  async "aliases, names and databases lead to collections"() {
    const collection_name = await quick();
    await ok(client.createAlias({ collection_name, alias: "current" }));
    const found = await ok(client.search({ collection_name: "current", data: ROWS[4].vector, limit: 1 }));
    assert.equal(Number(found.results[0].id), 4);
    assert.equal((await ok(client.describeAlias({ collection_name, alias: "current" }))).collection, collection_name);
    await ok(client.dropAlias({ alias: "current" }));
    await fresh("renamed");
    await ok(client.renameCollection({ collection_name, new_collection_name: "renamed" }));
    assert.equal((await ok(client.hasCollection({ collection_name }))).value, false);
    await ok(client.createDatabase({ db_name: "elsewhere" }));
    const there = new MilvusClient({ address: URI, database: "elsewhere" });
    assert.deepEqual((await ok(there.listCollections())).data, []);
    await ok(there.createCollection({ collection_name: "quick", dimension: 4 }));
    assert.equal((await ok(there.hasCollection({ collection_name: "quick" }))).value, true);
    await ok(there.dropCollection({ collection_name: "quick" }));
    await there.closeConnection();
    await ok(client.dropDatabase({ db_name: "elsewhere" }));
  },

  async "errors carry the codes of Milvus"() {
    const collection_name = await quick();
    const code = async (promise) => {
      try {
        const answer = await promise;
        return (answer.status ?? answer).code;
      } catch (error) {
        return error.message;
      }
    };
    assert.equal(await code(client.describeCollection({ collection_name: "absent" })), 100);
    assert.equal(await code(client.query({ collection_name, filter: "year >>> 3" })), 1100);
    assert.equal(await code(client.search({ collection_name, data: ROWS[0].vector, limit: 100000 })), 1100);
  },
};

const installed = new URL("./node_modules/@zilliz/milvus2-sdk-node/package.json", import.meta.url);
console.log("version", "@zilliz/milvus2-sdk-node", JSON.parse(readFileSync(installed, "utf8")).version);
console.log("version", "node", process.versions.node);
let failed = 0;
for (const [name, step] of Object.entries(steps)) {
  try {
    await step();
    console.log("passed", name);
  } catch (error) {
    failed += 1;
    console.log("failed", name);
    console.error(`\n${name}:`, error);
  }
}
await client.closeConnection();
process.exit(failed ? 1 : 0);
