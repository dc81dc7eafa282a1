-- A new kind of work: `refine`, which improves a plan or a result that exists already, for tasks
-- as their category and for agents as their mode.
--
-- A named CHECK is exchanged in place: no row is written, nothing is rebuilt. Older code is not
-- declared compatible: it could not tell what `refine` is in the rows that it reads.

ALTER TABLE tasks
    DROP CONSTRAINT tasks_category_ck;

ALTER TABLE tasks
    ADD CONSTRAINT tasks_category_ck
        CHECK (category IN (
            'execute', 'research', 'discuss', 'plan', 'detail', 'refine', 'verify', 'merge',
            'review'
        ));

ALTER TABLE agents
    DROP CONSTRAINT agents_mode_ck;

ALTER TABLE agents
    ADD CONSTRAINT agents_mode_ck
        CHECK (mode IN ('execute', 'discuss', 'plan', 'detail', 'refine'));
