import { Module } from '@nestjs/common';
import { IdentityFunctions } from '../database/identity-functions.js';
import { AuthenticationGuard } from './authentication.guard.js';
import { AuthenticationService } from './authentication.service.js';
import { CredentialUses } from './credential-uses.js';

/** Who is calling. Needs a global module that provides Database. */
@Module({
  providers: [IdentityFunctions, CredentialUses, AuthenticationService, AuthenticationGuard],
  exports: [IdentityFunctions, AuthenticationService, AuthenticationGuard],
})
export class IdentityModule {}
