/** What code can be written in. */
export const languages = ['python', 'javascript', 'bash', 'go'] as const;
export type Language = (typeof languages)[number];

export type Sandbox = {
  sandbox_id: string;
  status: string;
  template: string;
  backend: 'hopx' | 'local';
  /** One plain sentence: what stands between the code and the rest of the world. */
  isolation: string;
  internet_access: boolean;
  languages: readonly Language[];
  workdir: string;
  /** Null where the API does not say. */
  created_at: string | null;
  expires_at: string | null;
};

export type TruncatedStream = {
  stream: 'stdout' | 'stderr' | 'result';
  shown_chars: number;
  total_chars: number;
  /** A file in the sandbox that holds all of it, where one could be written. */
  full_output_path?: string;
};

export type ExecutionStatus = 'completed' | 'failed' | 'timed_out' | 'running' | 'cancelled';

export type Execution = {
  execution_id: string;
  sandbox_id: string;
  language: Language;
  status: ExecutionStatus;
  stdout: string;
  stderr: string;
  exit_code: number | null;
  execution_time_seconds: number;
  /** Text of the last expression of a Python run. */
  result?: string;
  images?: { count: number; media_types: readonly string[] };
  truncated?: readonly TruncatedStream[];
  artifacts?: readonly Artifact[];
  files?: readonly FileContent[];
  /** What ended a run that did not end itself. */
  ended_by?: 'timeout' | 'memory' | 'cancel';
  /** The Python kernel was restarted: variables of earlier runs are gone, files are not. */
  variables_lost?: true;
};

/** A file that a run made or changed under the workspace. */
export type Artifact = { path: string; size: number; media_type: string };

/** A file that was asked for, or why it is not here. */
export type FileContent = {
  path: string;
  size?: number;
  media_type?: string;
  content?: string;
  content_base64?: string;
  shown_as?: 'image';
  truncated?: true;
  error?: string;
};

export type Image = { mediaType: string; base64: string };

export type Deletion = { sandbox_id: string; already_gone: boolean };
