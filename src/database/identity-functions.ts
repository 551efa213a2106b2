import { Injectable } from '@nestjs/common';
import { sql } from 'kysely';
import { Database, type Statement } from './database.js';

/** A tenancy; its id is also the id of its root compartment. */
export interface TenancyRow {
  readonly id: string;
  readonly name: string;
  readonly time_created: Date;
}

/** A compartment; `parent_id` is null for the root. */
export interface CompartmentRow {
  readonly id: string;
  readonly tenancy_id: string;
  readonly parent_id: string | null;
  readonly name: string;
  readonly time_created: Date;
}

export interface UserRow {
  readonly id: string;
  readonly tenancy_id: string;
  readonly name: string;
  readonly time_created: Date;
}

/** Names one signing key: the three parts of a signature's keyId. */
export interface SigningKeyName {
  readonly tenancyId: string;
  readonly userId: string;
  readonly fingerprint: string;
}

/** What a STOMP client logs in with; the digest is the SHA-256 of the auth token. */
export interface StompLogin {
  readonly tenancyName: string;
  readonly userName: string;
  readonly digest: Buffer;
}

export interface SigningKeyRow {
  readonly tenancy_id: string;
  readonly user_id: string;
  readonly fingerprint: string;
  /** PEM, SubjectPublicKeyInfo. */
  readonly public_key: string;
}

/** Whose a bearer key or an auth token is. */
export interface CredentialRow {
  readonly id: string;
  readonly tenancy_id: string;
  readonly user_id: string;
  /** SHA-256 of the key or token. */
  readonly digest: Buffer;
}

/** A user as an issuer's token names it. */
export interface UserName {
  readonly tenancyName: string;
  readonly userName: string;
}

/** A tenancy, and its user of that name; null where it has none. */
export interface NamedUserRow {
  readonly tenancy_name: string;
  readonly user_name: string;
  readonly tenancy_id: string;
  readonly user_id: string | null;
}

/** A login that was right, as it was asked for, and whose it is. */
export interface StompLoginRow extends CredentialRow {
  readonly tenancy_name: string;
  readonly user_name: string;
}

/** What the first identity is made of; everything secret comes as a digest. */
export interface FirstIdentityDetails {
  readonly tenancyName: string;
  readonly compartmentName: string;
  readonly userName: string;
  readonly fingerprint: string;
  readonly publicKey: string;
  readonly apiKeyPrefix: string;
  readonly apiKeyDigest: Buffer;
  readonly authTokenDigest: Buffer;
}

export interface FirstIdentityIds {
  readonly tenancyId: string;
  readonly compartmentId: string;
  readonly userId: string;
}

interface FirstIdentityRow {
  readonly created: boolean;
  readonly tenancy_id: string | null;
  readonly compartment_id: string | null;
  readonly user_id: string | null;
}

// These look-ups take many at once: requests whose keys are not in the pod's cache share one statement.
const FIND_SIGNING_KEYS: Statement = {
  name: 'find_signing_keys',
  text: `select k.tenancy_id, k.user_id, k.fingerprint, k.public_key
    from unnest($1::text[], $2::text[], $3::text[]) as wanted (tenancy_id, user_id, fingerprint)
    cross join lateral towpath.find_signing_key(wanted.tenancy_id, wanted.user_id, wanted.fingerprint) k`,
};
const FIND_API_KEYS: Statement = {
  name: 'find_api_keys',
  text: `select k.id, k.tenancy_id, k.user_id, k.digest
    from unnest($1::bytea[]) as wanted (digest)
    cross join lateral towpath.find_api_key(wanted.digest) k`,
};
const FIND_STOMP_LOGINS: Statement = {
  name: 'find_stomp_logins',
  text: `select wanted.tenancy_name, wanted.user_name, k.id, k.tenancy_id, k.user_id, k.digest
    from unnest($1::text[], $2::text[], $3::bytea[]) as wanted (tenancy_name, user_name, digest)
    cross join lateral towpath.find_stomp_login(wanted.tenancy_name, wanted.user_name, wanted.digest) k`,
};

const FIND_USERS_BY_NAME: Statement = {
  name: 'find_users_by_name',
  text: `select wanted.tenancy_name, wanted.user_name, f.tenancy_id, f.user_id
    from unnest($1::text[], $2::text[]) as wanted (tenancy_name, user_name)
    cross join lateral towpath.find_user_by_name(wanted.tenancy_name, wanted.user_name) f
    where f.tenancy_id is not null`,
};

const RECORD_USES = {
  name: 'record_credential_uses',
  text: 'select towpath.record_credential_uses($1, $2, $3) as recorded',
};

/**
 * The only typed calls of the SQL functions of migrations/0001_identity.sql; those that manage identities are in
 * identity-admin-functions.ts. What they refuse is thrown as PostgreSQL's
 * error with our own SQLSTATE, which `toServiceError` translates; each method names those a caller may cause.
 */
@Injectable()
export class IdentityFunctions {
  constructor(private readonly database: Database) {}

  /** The keys among those named that exist, in no particular order. */
  async findSigningKeys(names: readonly SigningKeyName[]): Promise<SigningKeyRow[]> {
    return this.database.run<SigningKeyRow>(FIND_SIGNING_KEYS, [
      names.map((name) => name.tenancyId),
      names.map((name) => name.userId),
      names.map((name) => name.fingerprint),
    ]);
  }

  /** The bearer keys with one of these SHA-256 digests, in no particular order. */
  async findApiKeys(digests: readonly Buffer[]): Promise<CredentialRow[]> {
    return this.database.run<CredentialRow>(FIND_API_KEYS, [digests]);
  }

  /** The logins among those given that are right, in no particular order. */
  async findStompLogins(logins: readonly StompLogin[]): Promise<StompLoginRow[]> {
    return this.database.run<StompLoginRow>(FIND_STOMP_LOGINS, [
      logins.map((login) => login.tenancyName),
      logins.map((login) => login.userName),
      logins.map((login) => login.digest),
    ]);
  }

  /** Those among the names whose tenancy exists, in no particular order. */
  async findUsersByName(names: readonly UserName[]): Promise<NamedUserRow[]> {
    return this.database.run<NamedUserRow>(FIND_USERS_BY_NAME, [
      names.map(({ tenancyName }) => tenancyName),
      names.map(({ userName }) => userName),
    ]);
  }

  /**
   * Writes that these credentials were used a moment ago, where that was not written in the last five minutes. A signing
   * key is named tenancy/user/fingerprint.
   */
  async recordUses(
    signingKeys: readonly string[],
    apiKeys: readonly string[],
    authTokens: readonly string[],
  ): Promise<void> {
    await this.database.run(RECORD_USES, [signingKeys, apiKeys, authTokens]);
  }

  /** The tenancy that was made first; null in a new database. */
  async findFirstTenancy(): Promise<TenancyRow | null> {
    const statement = { name: 'find_first_tenancy', text: 'select * from towpath.find_first_tenancy()' };
    const [row] = await this.database.run<TenancyRow>(statement, []);
    return row ?? null;
  }

  /** Makes a tenancy with its root compartment. TP400 where the name is taken. */
  async createTenancy(name: string): Promise<TenancyRow> {
    return this.one<TenancyRow>('create_tenancy', [name]);
  }

  /** Makes a compartment in a parent of the same tenancy. TP404 parent, TP400 where the name is taken. */
  async createCompartment(tenancyId: string, parentId: string, name: string): Promise<CompartmentRow> {
    return this.one<CompartmentRow>('create_compartment', [tenancyId, parentId, name]);
  }

  /** Makes a user. TP404 tenancy, TP400 where the name is taken. */
  async createUser(tenancyId: string, name: string): Promise<UserRow> {
    return this.one<UserRow>('create_user', [tenancyId, name]);
  }

  /** Puts a user into the group Administrators, which may do everything in its tenancy. TP404 user. */
  async addAdministrator(tenancyId: string, userId: string): Promise<void> {
    const statement = { name: 'add_administrator', text: 'select towpath.add_administrator($1, $2)' };
    await this.database.run(statement, [tenancyId, userId]);
  }

  /** Lets a user sign with the key whose public half (PEM) this is. TP404 user, TP400 where it is there already. */
  async addSigningKey(name: SigningKeyName, publicKey: string): Promise<SigningKeyRow> {
    return this.one<SigningKeyRow>('add_signing_key', [name.tenancyId, name.userId, name.fingerprint, publicKey]);
  }

  /** Stores a bearer key by its beginning and its SHA-256. TP404 user. */
  async addApiKey(tenancyId: string, userId: string, prefix: string, digest: Buffer): Promise<CredentialRow> {
    return this.one<CredentialRow>('add_api_key', [tenancyId, userId, prefix, digest]);
  }

  /** Stores an auth token by its SHA-256. TP404 user. */
  async addAuthToken(tenancyId: string, userId: string, digest: Buffer): Promise<CredentialRow> {
    return this.one<CredentialRow>('add_auth_token', [tenancyId, userId, digest]);
  }

  /** The secret of this name that all pods share: the first proposal (at least 32 bytes) ever made for it. */
  async shareSecret(name: string, proposal: Buffer): Promise<Buffer> {
    const statement = { name: 'share_secret', text: 'select towpath.share_secret($1, $2) as value' };
    const [row] = await this.database.run<{ value: Buffer }>(statement, [name, proposal]);
    if (row === undefined) throw new Error('share_secret returned no row');
    return row.value;
  }

  /**
   * Makes the first identity, an administrator, unless the database has a tenancy, in which case it returns null. `beforeCommit` runs with
   * the new ids before anybody can see them, while other pods wait: if it throws, nothing was made and its error is thrown.
   */
  async createFirstIdentity(
    details: FirstIdentityDetails,
    beforeCommit: (ids: FirstIdentityIds) => Promise<void>,
  ): Promise<FirstIdentityIds | null> {
    return this.database.kysely.transaction().execute(async (transaction) => {
      const result = await sql<FirstIdentityRow>`
        select created, tenancy_id, compartment_id, user_id
        from towpath.create_first_identity(
          ${details.tenancyName}, ${details.compartmentName}, ${details.userName}, ${details.fingerprint},
          ${details.publicKey}, ${details.apiKeyPrefix}, ${details.apiKeyDigest}, ${details.authTokenDigest}
        )`.execute(transaction);
      const row = result.rows[0];
      if (!row?.created || row.tenancy_id === null || row.compartment_id === null || row.user_id === null) return null;
      const ids = { tenancyId: row.tenancy_id, compartmentId: row.compartment_id, userId: row.user_id };
      await sql`select towpath.add_administrator(${ids.tenancyId}, ${ids.userId})`.execute(transaction);
      await beforeCommit(ids);
      return ids;
    });
  }

  /** Calls a function that returns exactly one row of a table's type. */
  private async one<Row extends object>(name: string, values: readonly unknown[]): Promise<Row> {
    const places = values.map((_, index) => `$${index + 1}`).join(', ');
    const [row] = await this.database.run<Row>({ name, text: `select * from towpath.${name}(${places})` }, values);
    if (row === undefined) throw new Error(`${name} returned no row`);
    return row;
  }
}
