export { TurnoverMap } from './turnover-map.js';
