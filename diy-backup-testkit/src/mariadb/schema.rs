//! Tables that are like Bitbucket's in what makes them hard to back up.

pub(super) const SQL: &str = r#"
CREATE TABLE sta_normal_user (
    user_id    int PRIMARY KEY,
    name       varchar(255) NOT NULL UNIQUE,
    full_name  varchar(255) NOT NULL
);
INSERT INTO sta_normal_user VALUES
    (1, 'admin', 'Administrator'),
    (2, 'jürgen', 'Jürgen Müller-Lüdenscheidt'),
    (3, 'søren', 'Søren Ærø'),
    (4, 'hanako', '山田 花子'),
    (5, 'emoji', '👩‍💻 𝔘𝔫𝔦𝔠𝔬𝔡𝔢'),
    (6, 'quote', 'O\'Brien; DROP TABLE push; -- ""\\ \t\r\n /*!50003 x */');

CREATE TABLE project (
    id           int PRIMARY KEY,
    project_key  varchar(128) NOT NULL UNIQUE,
    description  text
);
INSERT INTO project SELECT seq, CONCAT('PROJ', seq), REPEAT('naïve ☃ ', seq) FROM seq_1_to_20;

CREATE TABLE repository (
    id          int PRIMARY KEY,
    slug        varchar(128) NOT NULL,
    project_id  int NOT NULL,
    UNIQUE (slug, project_id),
    FOREIGN KEY (project_id) REFERENCES project (id)
);
INSERT INTO repository SELECT seq, CONCAT('repo-', seq), 1 + seq % 20 FROM seq_1_to_200;

CREATE TABLE push (
    id       bigint AUTO_INCREMENT PRIMARY KEY,
    push_id  varchar(255) NOT NULL UNIQUE,
    payload  longtext NOT NULL,
    created  timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY idx_push_created (created)
);

CREATE VIEW recent_push AS SELECT push_id, created FROM push ORDER BY created DESC LIMIT 100;

CREATE TABLE avatar (
    user_id  int PRIMARY KEY,
    image    longblob NOT NULL,
    FOREIGN KEY (user_id) REFERENCES sta_normal_user (user_id)
);
INSERT INTO avatar VALUES (2, REPEAT(X'00FF0A5C270D1A22', 5000));
"#;
