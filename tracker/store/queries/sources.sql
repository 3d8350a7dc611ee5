-- One row per source that was ever asked: its title, address, licence and whom to credit.
select * from sources order by source
