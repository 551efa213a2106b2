import pg from 'pg';

const CONNECT_MS = 3000;

/** Whether the database has a tenancy, migrated or not; null where that cannot be found out. */
export async function hasIdentity(url: string): Promise<boolean | null> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_MS });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const made = await client.query<{ made: boolean }>(`select to_regclass('towpath.tenancy') is not null as made`);
    if (made.rows[0]?.made !== true) return false;
    const found = await client.query<{ found: boolean }>('select exists (select from towpath.tenancy) as found');
    return found.rows[0]?.found ?? false;
  } catch {
    // Whoever asks goes on, and meets what is wrong in words that fit it.
    return null;
  } finally {
    await client.end().catch(() => undefined);
  }
}
