import { Injectable } from '@nestjs/common';
import { TokenKind, TokenSeal } from '../encryption/token-seal.js';
import { ServiceError } from '../errors/service-error.js';

/** Where the next page of a list begins, as `opc-next-page` carries it. Sealed: what comes back is what went out. */
@Injectable()
export class PageTokens {
  constructor(private readonly seal: TokenSeal) {}

  /** `list` names the list with its order, so that a token of one is not taken for a place in another. */
  encode(list: string, position: readonly (string | number)[]): string {
    return this.seal.seal(TokenKind.Page, Buffer.from(JSON.stringify([list, ...position])));
  }

  /** Null where there is no token; throws InvalidParameter for one that is not this list's. */
  decode(list: string, token: string | undefined): (string | number)[] | null {
    if (token === undefined) return null;
    const payload = this.seal.open(TokenKind.Page, token);
    const [from, ...position] = payload === null ? [] : (JSON.parse(payload.toString()) as (string | number)[]);
    if (from !== list) {
      throw new ServiceError(
        'InvalidParameter',
        'page must be the opc-next-page of an answer to the same list request',
      );
    }
    return position;
  }
}
