-- As a version to come may leave it.
CREATE TABLE package (id TEXT PRIMARY KEY, something TEXT);
INSERT INTO package VALUES ('dev.example.my-tool', 'new');
PRAGMA application_id = 0x4b414d49;
PRAGMA user_version = 1000;
