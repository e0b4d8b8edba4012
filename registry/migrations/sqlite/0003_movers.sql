-- Who carries a move on is recorded with it, and the moves under way can be found among millions of settled placements.

ALTER TABLE placements ADD COLUMN mover TEXT NOT NULL DEFAULT 'operator';
CREATE INDEX placements_moving ON placements (row_number) WHERE phase <> 'settled';
