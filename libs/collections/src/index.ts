export { Fifo } from './fifo.js';
export { TurnQueue } from './turn-queue.js';
export { TurnoverMap } from './turnover-map.js';
