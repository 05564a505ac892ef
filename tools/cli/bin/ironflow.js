#!/usr/bin/env node
// A file that is there before anything is built, so that npm can link and mark it executable.
import '../dist/main.js';
