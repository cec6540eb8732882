//! Tables that are like Bitbucket's in what makes them hard to back up.

pub(super) const SQL: &str = r#"
BEGIN;
CREATE TABLE sta_normal_user (
    user_id    integer PRIMARY KEY,
    name       varchar(255) NOT NULL,
    full_name  varchar(255) NOT NULL
);
CREATE UNIQUE INDEX uq_normal_user_name ON sta_normal_user (lower(name));
INSERT INTO sta_normal_user VALUES
    (1, 'admin', 'Administrator'),
    (2, 'jürgen', 'Jürgen Müller-Lüdenscheidt'),
    (3, 'søren', 'Søren Ærø'),
    (4, 'hanako', '山田 花子'),
    (5, 'quote', E'O\'Brien; DROP TABLE push; -- ""\\ \t');

CREATE TABLE project (
    id           integer PRIMARY KEY,
    project_key  varchar(128) NOT NULL UNIQUE,
    description  text
);
INSERT INTO project SELECT n, 'PROJ' || n, repeat('naïve ☃ ', n) FROM generate_series(1, 20) AS n;

CREATE TABLE repository (
    id          integer PRIMARY KEY,
    slug        varchar(128) NOT NULL,
    project_id  integer NOT NULL REFERENCES project (id),
    UNIQUE (slug, project_id)
);
INSERT INTO repository SELECT n, 'repo-' || n, 1 + n % 20 FROM generate_series(1, 200) AS n;
CREATE INDEX idx_repository_project ON repository (project_id);

CREATE SEQUENCE bb_change_seq INCREMENT BY 50 CACHE 10;

CREATE TABLE push (
    id       bigserial PRIMARY KEY,
    push_id  text NOT NULL UNIQUE,
    payload  text NOT NULL,
    change   bigint NOT NULL DEFAULT nextval('bb_change_seq'),
    created  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_push_created ON push (created);

CREATE VIEW recent_push AS SELECT push_id, created FROM push ORDER BY created DESC LIMIT 100;

CREATE TABLE avatar (
    user_id  integer PRIMARY KEY REFERENCES sta_normal_user (user_id),
    image    oid NOT NULL
);
INSERT INTO avatar VALUES (2, lo_from_bytea(0, decode(repeat('00ff0a5c', 5000), 'hex')));
COMMIT;
"#;
