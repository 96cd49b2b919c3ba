// What `prisma generate` makes of the schema below, without its types: the generator alone is 160 MB of modules, and it asks
// for a program from a server that is no package registry.
import * as runtime from "@prisma/client/runtime/client";

const schema = `datasource db {
  provider = "postgresql"
}
enum job_status {
  queued
  running
  completed
  failed
  cancelled
}
model BackfillJob {
  id           String     @id @default(dbgenerated("gen_random_uuid()")) @db.Uuid
  name         String?    @unique
  status       job_status @default(queued)
  heartbeat_at DateTime?  @db.Timestamptz(6)
  @@map("backfill_jobs")
}
`;
const field = (name, type, kind = "scalar") => ({ name, kind, type });
const models = {
  BackfillJob: {
    fields: [
      field("id", "String"),
      field("name", "String"),
      field("status", "job_status", "enum"),
      field("heartbeat_at", "DateTime"),
    ],
    dbName: "backfill_jobs",
    schema: null,
  },
};

export const PrismaClient = runtime.getPrismaClient({
  previewFeatures: [],
  clientVersion: "7.10.0",
  engineVersion: "0edf323efd1d98336f3f0a68684b56f689b900d3",
  activeProvider: "postgresql",
  inlineSchema: schema,
  runtimeDataModel: { models, enums: {}, types: {} },
  parameterizationSchema: { strings: [], graph: Buffer.alloc(16).toString("base64") },
  compilerWasm: {
    getRuntime: () => import("@prisma/client/runtime/query_compiler_fast_bg.postgresql.mjs"),
    getQueryCompilerWasmModule: async () => {
      const { wasm } = await import("@prisma/client/runtime/query_compiler_fast_bg.postgresql.wasm-base64.mjs");
      return new WebAssembly.Module(Buffer.from(wasm, "base64"));
    },
    importName: "./query_compiler_fast_bg.js",
  },
});
