-- What Envoy asks a cell's endpoints for, to learn that they serve. Without one it only opens connections.

ALTER TABLE cells ADD COLUMN health_path TEXT;
