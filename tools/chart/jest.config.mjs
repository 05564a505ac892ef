import preset from '../../jest.preset.mjs';

// What needs Helm is run by `npm run chart:test`, which brings it.
export default { ...preset, testPathIgnorePatterns: ['/node_modules/', '/src/rendered/'] };
