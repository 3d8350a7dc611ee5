-- One row per ingest, newest first. $source: only this one; $since: only those that started later; null for all.
select ingests.*, sources.title, sources.license, sources.attribution, sources.is_private
from ingests
left join sources using (source)
where ($source is null or source = $source)
  and ($since is null or started_at >= $since)
order by ingest_id desc
