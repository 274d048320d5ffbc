-- The audit log is read newest first, of somebody, of one act, of one subject, from a moment on.
CREATE INDEX audit_log_actor_index ON audit_log (actor, audit_id);
CREATE INDEX audit_log_act_index ON audit_log (act, audit_id);
CREATE INDEX audit_log_subject_index ON audit_log (subject, audit_id);
CREATE INDEX audit_log_recorded_index ON audit_log (recorded_at);
