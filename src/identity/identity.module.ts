import { Module } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { IdentityFunctions } from '../database/identity-functions.js';
import { AuthenticationGuard } from './authentication.guard.js';
import { AuthenticationService } from './authentication.service.js';
import { CredentialUses } from './credential-uses.js';
import { OidcTokens } from './oidc-tokens.js';

/** Who is calling. Needs a global module that provides Database and the configuration. */
@Module({
  providers: [
    IdentityFunctions,
    CredentialUses,
    {
      provide: OidcTokens,
      inject: [CONFIGURATION],
      useFactory: (configuration: Configuration) => new OidcTokens(configuration),
    },
    AuthenticationService,
    AuthenticationGuard,
  ],
  exports: [IdentityFunctions, AuthenticationService, AuthenticationGuard],
})
export class IdentityModule {}
