import { Controller, Get, Param, Query, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Caller } from '../identity/caller.js';
import { CurrentCaller } from '../identity/permission.js';
import { peekedMessage } from '../messages/peek.schemas.js';
import { JSON_LINES, JsonLines } from '../rest/json-lines.js';
import { API_VERSION, Operation } from '../rest/operation.js';
import { exportDeadLettersQuery } from './export.schemas.js';
import { ExportService } from './export.service.js';

@ApiTags('dead letters')
@Controller(`${API_VERSION}/queues/:queueId/deadLetters/actions`)
export class ExportController {
  constructor(
    private readonly exports: ExportService,
    private readonly lines: JsonLines,
  ) {}

  @Get('export')
  @Operation({
    id: 'exportDeadLetters',
    summary: 'Writes the dead letters as JSON lines',
    description:
      'Towpath extension. One dead letter per line, as peekMessages shows it, without any effect on it. The answer has no ' +
      'length: it is whole when it ends as HTTP says (the last chunk); where the connection breaks before, it is not.',
    permission: 'use queue-pull',
    isExtension: true,
    success: { status: 200, description: 'A PeekedMessage per line.', schema: peekedMessage, contentType: JSON_LINES },
    errors: ['IncorrectState'],
  })
  async export(
    @CurrentCaller() caller: Caller,
    @Param('queueId') queueId: string,
    @Query({ schema: exportDeadLettersQuery }) query: z.infer<typeof exportDeadLettersQuery>,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    this.lines.send(reply, await this.exports.export(caller, queueId, query));
  }
}
