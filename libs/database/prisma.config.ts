/**
 * Prisma only generates the client here. Its CLI looks for a native schema engine before it does anything and
 * cannot download one everywhere; generating never runs it, so any executable will do.
 */
import { defineConfig } from 'prisma/config';

process.env['PRISMA_SCHEMA_ENGINE_BINARY'] ??= process.execPath;

export default defineConfig({ schema: 'prisma/schema.prisma', migrations: { path: 'prisma/migrations' } });
