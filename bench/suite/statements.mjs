// How many statements others send to the server, as its own log has them: exact, and of clients only, unlike the count of transactions,
// which has those of autovacuum too.
import { open } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';

const STATEMENT = /\[(\d+)\] LOG: {2}(?:statement: |execute )/;

/** Those that arrive while `act` runs, except this function's own. The server logs to files, and is on this machine. */
export async function countStatements(superuserUrl, act) {
  const sql = new pg.Client({ connectionString: superuserUrl });
  await sql.connect();
  try {
    const { rows } = await sql.query(
      `select current_setting('data_directory') as directory, pg_current_logfile() as name, pg_backend_pid() as own`,
    );
    const [{ directory, name, own }] = rows;
    const log = await open(path.resolve(directory, name));
    try {
      await setLogging(sql, 'all');
      const { size } = await log.stat();
      await act();
      const { size: end } = await log.stat();
      const text = Buffer.alloc(end - size);
      await log.read(text, 0, text.length, size);
      const writers = text
        .toString()
        .split('\n')
        .map((line) => STATEMENT.exec(line)?.[1]);
      return writers.filter((writer) => writer !== undefined && Number(writer) !== own).length;
    } finally {
      await log.close();
      await setLogging(sql, 'none');
    }
  } finally {
    await sql.end();
  }
}

/** Backends take it up with their next statement, or when they are idle: at once, or nearly. */
async function setLogging(sql, which) {
  await sql.query(`alter system set log_statement = '${which}'`);
  await sql.query('select pg_reload_conf()');
  await new Promise((resolve) => setTimeout(resolve, 500));
}
