export { firingData, firingEventId, jitterOf } from './firing.js';
export type { ScheduleOfFunction } from './firing.js';
export { brokenScheduleRule } from './schedule-rules.js';
export type { BrokenScheduleRule } from './schedule-rules.js';
export { createTimetables, timesIn } from './timetable.js';
export type { Span, Times, TimesIn, Timetable, TimetableAnswer } from './timetable.js';
