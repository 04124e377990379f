-- As another program may leave it.
CREATE TABLE song (title TEXT);
