import { Controller, Get, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { JSON_LINES, JsonLines } from '../rest/json-lines.js';
import { API_VERSION, NEXT_PAGE_HEADER, Operation } from '../rest/operation.js';
import {
  auditEvent,
  auditEventCollection,
  exportAuditEventsQuery,
  listAuditEventsQuery,
  type AuditEventCollection,
} from './audit.schemas.js';
import { AuditService } from './audit.service.js';

@ApiTags('audit')
@Controller(`${API_VERSION}/auditEvents`)
export class AuditController {
  constructor(
    private readonly audit: AuditService,
    private readonly lines: JsonLines,
  ) {}

  @Get()
  @Operation({
    id: 'listAuditEvents',
    summary: 'Lists who changed what, and what was refused, newest first',
    description:
      'Towpath extension. Every change of the control plane of the tenancy, by REST or by SQL, and requests that were ' +
      'refused; never contents or properties of messages.',
    permission: 'inspect audit',
    isExtension: true,
    success: { status: 200, description: 'A page.', schema: auditEventCollection, headers: NEXT_PAGE_HEADER },
  })
  async list(
    @CurrentCaller() caller: Caller,
    @Query({ schema: listAuditEventsQuery }) query: z.infer<typeof listAuditEventsQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<AuditEventCollection> {
    const { body, nextPage } = await this.audit.list(caller, query);
    if (nextPage !== null) void reply.header('opc-next-page', nextPage);
    return body;
  }

  @Get('actions/export')
  @Operation({
    id: 'exportAuditEvents',
    summary: 'Writes the audit log as JSON lines',
    description:
      'Towpath extension. One event per line, newest first, as listAuditEvents shows it. The answer has no length: it is ' +
      'whole when it ends as HTTP says (the last chunk); where the connection breaks before, it is not.',
    permission: 'read audit',
    isExtension: true,
    success: { status: 200, description: 'An AuditEvent per line.', schema: auditEvent, contentType: JSON_LINES },
  })
  async export(
    @CurrentCaller() caller: Caller,
    @Query({ schema: exportAuditEventsQuery }) query: z.infer<typeof exportAuditEventsQuery>,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    this.lines.send(reply, await this.audit.export(caller, query));
  }
}
