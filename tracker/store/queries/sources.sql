-- One row per source ingested so far: its title, address, license and attribution.
select * from sources order by source
