-- A tenant's other name; unique among aliases.
ALTER TABLE tenants ADD COLUMN alias TEXT;
CREATE UNIQUE INDEX tenants_by_alias ON tenants (alias);

-- The subjects of tenants' trust anchors; written together with tenants.object.
CREATE TABLE anchors (
    tenant     TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    subject_dn TEXT NOT NULL,
    PRIMARY KEY (subject_dn, tenant)
);
CREATE INDEX anchors_by_tenant ON anchors (tenant);

-- The operator who wrote the device last; none if it was registered by itself.
ALTER TABLE devices ADD COLUMN last_user TEXT;
-- 0: registered by an operator; 1: by itself; 2: by itself, and applications have been told.
ALTER TABLE devices ADD COLUMN provisioned BIGINT NOT NULL DEFAULT 0;
