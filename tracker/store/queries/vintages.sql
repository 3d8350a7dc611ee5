-- One row per ingested vintage of a published index, in the order of their ingests.
select * from vintages order by vintage_id
