-- What of a run's record its function's code was found not to fit.
alter table runs add column mismatch json;
